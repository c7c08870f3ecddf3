"""`difflab check`: hold parts to the laws that the tests hold difflab's own to, and place them beside ours."""

from difflab.cli.check.command import main

__all__ = ["main"]
