"""The groups of the fault matrix."""
