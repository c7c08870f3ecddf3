"""The evaluation of a run: what is measured, and by which protocol."""
