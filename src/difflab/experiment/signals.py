"""Signals that ask a process to stop."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType

LOOK = 0.5  # seconds between two looks at the parent


@contextmanager
def handled(handler: Callable[[int, FrameType | None], None], *numbers: int) -> Iterator[None]:
    """Have signals handled so in a block, by the main thread, which alone can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, each in before.items():
            signal.signal(number, each)


@cache
def stop_with(parent: int | None, file: Path | None = None) -> None:
    """Have this process sent SIGTERM, once, when its parent is gone or when a file is there."""

    def watch() -> None:
        while (parent is None or os.getppid() == parent) and not (file and file.exists()):
            time.sleep(LOOK)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def own_group() -> None:
    """Keep the terminal's Ctrl-C from this process: its parent gets it, and says when to stop."""
    if hasattr(os, "setpgrp"):
        os.setpgrp()


def stop(signum: int, frame: FrameType | None) -> None:
    """End this process by the status that says which signal asked for it."""
    raise SystemExit(128 + signum)
