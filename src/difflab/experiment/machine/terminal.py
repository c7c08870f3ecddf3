"""What a job prints beside its results: what it is about, remarks, and how far its long parts are.

In a job of a study only news is printed: a remark once in a process, no opening lines, and bars that vanish.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

LINE_SECONDS = 20.0  # between two plain lines
STUDY_SECONDS = 600.0  # the same in a job of a study
LONG = 5.0  # seconds, after which a part that is not counted is named on plain terminals

Done = Callable[[int], None]  # is called with how many of the total are done
Bars = Callable[[str, int], AbstractContextManager[Done]]  # of what, and the total

_JOB: ContextVar[str] = ContextVar("job", default="")  # "job 7 of 162: " in a study
_REMARKS: set[str] = set()  # that jobs of studies have printed in this process


@contextmanager
def job_of_study(name: str) -> Iterator[None]:
    """Print as a job of a study does, whose bars begin with its name."""
    token = _JOB.set(f"{name}: ")
    try:
        yield
    finally:
        _JOB.reset(token)


def opening(lines: Iterable[str]) -> None:
    """Print what a job is about, unless it is one of a study."""
    if not _JOB.get():
        for line in lines:
            print(line, flush=True)


def remark(line: str) -> None:
    """Print a line that holds for the job; in a study only where no earlier job has printed the same."""
    if not _JOB.get():
        print(line, flush=True)
    elif line not in _REMARKS:
        _REMARKS.add(line)
        print(line, flush=True)


class Bar:
    """A bar from `start` to `total` images, with the time left."""

    def __init__(self, what: str, total: int, start: int = 0) -> None:
        self.what, self.start, self.total = f"{_JOB.get()}{what}", start, total
        self.clock = self.last = time.monotonic()
        console = Console(stderr=True)
        columns = (
            *(TextColumn(self.what, markup=False), BarColumn(), MofNCompleteColumn()),
            *(
                TextColumn("images  {task.fields[note]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
            ),
        )
        self.bar = Progress(*columns, console=console, transient=bool(_JOB.get()))
        self.task = self.bar.add_task(what, total=total, completed=start, note="")
        self.plain = not console.is_terminal
        if not self.plain:
            self.bar.start()

    def show(self, done: int, note: str = "") -> None:
        """Move to `done`."""
        self.bar.update(self.task, completed=done, note=note)
        now, study = time.monotonic(), bool(_JOB.get())
        due = now - self.last > (STUDY_SECONDS if study else LINE_SECONDS)
        if self.plain and (due or (done == self.total and not study)):
            self.last = now
            left = (now - self.clock) / max(1, done - self.start) * (self.total - done)
            note = f"{note}  " if note else ""
            print_plain(self.bar.console, f"{self.what}: {done:,}/{self.total:,} images  {note}{duration(left)} left")

    def wait(self, note: str) -> None:
        """Stand still for the reason given."""
        self.bar.update(self.task, note=note)

    def stop(self) -> None:
        """Leave the terminal as it was."""
        if not self.plain:
            self.bar.stop()


@contextmanager
def bar(what: str, total: int) -> Iterator[Done]:
    """A bar of a part of the work that goes over images."""
    shown = Bar(what, total)
    try:
        yield shown.show
    finally:
        shown.stop()


@contextmanager
def silently(what: str, total: int) -> Iterator[Done]:
    """No bar."""
    yield lambda done: None


@contextmanager
def phase(what: str) -> Iterator[None]:
    """Name a part of the work that is not counted, in the first process; on plain terminals only if it is long."""
    from difflab.experiment.machine.processes import rank  # here, as commands that only compose need no torch

    if rank():
        yield
        return
    console, name = Console(stderr=True), f"{_JOB.get()}{what}"
    if not console.is_terminal:
        with after(LONG, lambda: print_plain(console, f"{name} ..")):
            yield
        return
    columns = SpinnerColumn(), TextColumn(name, markup=False), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as shown:
        shown.add_task(what, total=None)
        yield


@contextmanager
def after(seconds: float, say: Callable[[], None]) -> Iterator[None]:
    """Say something once the block has taken so many seconds."""
    timer = threading.Timer(seconds, say)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def print_plain(console: Console, line: str) -> None:
    """Print a line as it is."""
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """A time in its two largest units: `2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes < 10 and rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
