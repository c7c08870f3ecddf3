"""Files that are there whole or not at all."""

from __future__ import annotations

import glob
import json
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from difflab.experiment.store.stored import load_json

FORGOTTEN = 24 * 3600  # seconds after which an unfinished file of another host is taken for one that it left behind


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, which takes its place when the block ends without an error.

    By then its content is on the disk. What killed processes have left unfinished of the same file is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in left_behind(path):
        left.unlink(missing_ok=True)
    unfinished = path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}")
    try:
        yield unfinished
        sync(unfinished)
        os.replace(unfinished, path)
        with suppress(OSError):  # some file systems have no such thing
            sync(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def nearest(folder: Path, way_out: str) -> Path:
    """A folder, or the first above it that is there. Raises ValueError, with the way out, where that is a file."""
    found = next(each for each in (folder, *folder.absolute().parents) if os.path.lexists(each))
    if not found.is_dir():
        raise ValueError(f"{found} is a file, where a folder should be: {way_out}")
    return found


def check_writable(folder: Path, way_out: str, make: bool = True) -> None:
    """Make a folder where there is none. Raise ValueError, with the way out, if nothing can be written into it.

    With `make=False` nothing is made: the folder that it would be made in is tried.
    """
    there = nearest(folder, way_out)
    try:
        if make:
            folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder if make else there):
            pass
    except OSError as error:
        raise ValueError(f"{folder} cannot be written to ({error.strerror}): {way_out}") from error


def left_behind(path: Path) -> list[Path]:
    """Unfinished files of `path` whose process is gone."""
    found = []
    for left in path.parent.glob(f".{glob.escape(path.name)}.*-*"):
        host, _, pid = left.name.removeprefix(f".{path.name}.").rpartition("-")
        if not pid.isdigit():
            continue
        with suppress(FileNotFoundError):  # its process has finished it meanwhile
            old = time.time() - left.stat().st_mtime > FORGOTTEN
            if not is_alive(int(pid)) if host == socket.gethostname() else old:
                found.append(left)
    return found


def is_alive(pid: int) -> bool:
    """Whether a process of this host is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def sync(path: Path) -> None:
    """Have a file's content, or a folder's entries, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> Path:
    """Write a text file; return its path."""
    with atomic(path) as unfinished:
        unfinished.write_text(text)
    return path


def read_json(path: Path) -> dict[str, Any] | None:
    """What a JSON file says, plain values by name; None where there is none, or where it is damaged."""
    try:
        return load_json(path)
    except (FileNotFoundError, ValueError):
        return None


def write_json(path: Path, value: object) -> Path:
    """Write plain values as JSON; return the path. Raises ValueError for numbers that are not finite."""
    return write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")
