"""Signals that ask a process to stop."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType
from typing import NoReturn

STOPS = (signal.SIGINT, signal.SIGTERM)
LOOK = 0.5  # seconds between two looks at whether to stop

AGAIN = 0.1  # seconds until a signal that was lost is sent again


class Interrupted(SystemExit):
    """The job was asked to stop, in all its processes, and has saved its state. The code is 128 + the signal."""


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


def asking() -> tuple[int, ...]:
    """The signals that ask a process to stop: SIGINT, SIGTERM, and those of a launcher where it listens to them.

    By SIGUSR1 or SIGUSR2 a cluster says that a job's time is over; the launcher's handler queues it again.
    """
    others = [getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name)]
    return (*STOPS, *(number for number in others if callable(signal.getsignal(number))))


def answer(number: int) -> NoReturn:
    """End this process, once its state is saved, as the signal asks: by a launcher's handler, or by its status."""
    handler = signal.getsignal(number)
    if number not in STOPS and callable(handler):
        handler(number, None)
    raise Interrupted(128 + number)


def stop_when(asked: Callable[[], bool]) -> None:
    """Have this process sent SIGTERM, once, when that is asked; a thread looks now and then."""

    def watch() -> None:
        while not asked():
            time.sleep(LOOK)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


@cache
def follow(parent: int, asked: Path) -> Callable[[], bool]:
    """Have this process of a launcher stop when a file is there, and if it is a child of `parent`, when that is gone.

    Ctrl-C in a terminal reaches the parent alone, which then writes the file. Returns a function that is true once the
    parent has ended.
    """
    own_group()
    child = os.getppid() == parent

    def alone() -> bool:
        return child and os.getppid() != parent

    stop_when(lambda: asked.exists() or alone())
    return alone


def own_group() -> None:
    """Keep the terminal's Ctrl-C from this process: its parent gets it, and says when to stop."""
    if hasattr(os, "setpgrp"):
        os.setpgrp()


@contextmanager
def none_lost() -> Iterator[None]:
    """Send a signal again whose exception was raised where Python ignores all of them, as in a destructor."""
    before, timers = sys.unraisablehook, list[threading.Timer]()

    def hook(ignored: sys.UnraisableHookArgs) -> None:
        match ignored.exc_value:
            case KeyboardInterrupt():
                signum = signal.SIGINT
            case SystemExit(code=143):
                signum = signal.SIGTERM
            case _:
                before(ignored)
                return
        timers.append(threading.Timer(AGAIN, os.kill, (os.getpid(), signum)))
        timers[-1].daemon = True
        timers[-1].start()

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before
        for timer in timers:
            timer.cancel()


def stop(signum: int, frame: FrameType | None) -> None:
    """End this process by the status of the signal that ended it."""
    raise SystemExit(128 + signum)
