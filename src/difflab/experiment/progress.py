"""One progress bar for a whole job, with the time left; plain lines where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINE_SECONDS = 20.0  # between two plain lines


class Bar:
    """A bar from `start` to `total` images."""

    def __init__(self, what: str, total: int, start: int = 0) -> None:
        console = Console(stderr=True)
        self.what, self.start, self.total = what, start, total
        self.clock = self.line = time.monotonic()
        columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("images  {task.fields[note]}"))
        self.bar = Progress(*columns, TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=console)
        self.task = self.bar.add_task(what, total=total, completed=start, note="")
        self.plain = not console.is_terminal
        if not self.plain:
            self.bar.start()

    def show(self, done: int, note: str) -> None:
        """Move to `done`."""
        self.bar.update(self.task, completed=done, note=note)
        now = time.monotonic()
        if self.plain and (now - self.line > LINE_SECONDS or done == self.total):
            self.line = now
            left = (now - self.clock) / max(1, done - self.start) * (self.total - done)
            self.bar.console.print(
                f"{self.what}: {done}/{self.total} images  {note}  {left:.0f} s left", highlight=False
            )

    def stop(self) -> None:
        """Leave the terminal as it was."""
        self.bar.stop()


@contextmanager
def silently(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """No progress bar of drawing."""
    yield lambda done: None


class Drawing:
    """A progress bar of drawing `total` samples; a call gives the number that are done."""

    def __init__(self, what: str, total: int) -> None:
        self.what, self.total = what, total

    def __enter__(self) -> Self:
        self.bar = Bar(self.what, self.total)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.bar.stop()

    def __call__(self, done: int) -> None:
        """Say that `done` samples are finished."""
        self.bar.show(done, "")
