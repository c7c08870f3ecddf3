"""`difflab-figure`: the pictures of the field."""

from difflab.cli.figure.command import main

__all__ = ["main"]
