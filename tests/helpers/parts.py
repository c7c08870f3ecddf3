"""What `difflab check` builds of a word."""

from difflab.cli.parts import parts


def only(part):
    """The one part that a word names."""
    (found,) = parts([part])
    return found.built
