"""Files that are there whole or not at all, and locks between processes."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, which takes its place when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        yield unfinished
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> Path:
    """Write a text file; return its path."""
    with atomic(path) as unfinished:
        unfinished.write_text(text)
    return path


def write_json(path: Path, value: object) -> Path:
    """Write plain values as JSON; return the path."""
    return write_text(path, json.dumps(value, indent=2) + "\n")


@contextmanager
def locked(path: Path, waiting: str) -> Iterator[None]:
    """Hold a lock file; while another process holds it, print `waiting` and wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(waiting, flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
