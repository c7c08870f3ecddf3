"""The evaluation of a run: its scores, by a protocol."""
