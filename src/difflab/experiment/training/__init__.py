"""The training of a run: its parts, the work, and what it goes on from."""
