"""The machine: its devices, the processes of a job and their locks, signals, the terminal."""
