"""What every part must satisfy, as functions."""
