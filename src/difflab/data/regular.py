"""Checks of files from elsewhere: whether a path is a regular file, and how much memory there is to read it."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def check_regular(path: Path) -> None:
    """Raise ValueError unless a path is a regular file. Reading a pipe would wait, and a device has no end."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError("it is no regular file")


def memory() -> int:
    """The bytes of memory that this process may have: the machine's, or those of its container."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    try:
        return min(machine, int(limit.read_text()))
    except (OSError, ValueError):  # there is no such file, or it says "max"
        return machine
