"""The processes of this machine."""

from pathlib import Path


def running(folder):
    """The processes that work in a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if path.resolve() == folder:
                found.append(int(path.parent.name))
        except OSError:
            pass
    return found
