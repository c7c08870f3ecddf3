"""One progress bar for a whole job, with the time left; plain lines where there is no terminal."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Self

import lightning.pytorch as pl
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
            left = (now - self.clock) / (done - self.start) * (self.total - done)
            self.bar.console.print(
                f"{self.what}: {done}/{self.total} images  {note}  {left:.0f} s left", highlight=False
            )

    def stop(self) -> None:
        """Leave the terminal as it was."""
        self.bar.stop()


class Drawing:
    """The bar of `total` samples being drawn, to be told how many are done."""

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


class RunProgress(pl.Callback):
    """Show and log, every so many steps, the loss and the images per second; `seconds` sums up the training alone."""

    def __init__(self, batch_size: int, every: int = 10) -> None:
        self.batch_size, self.every = batch_size, every
        self.seconds = 0.0
        self.bar: Bar | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        if trainer.is_global_zero:
            self.bar = Bar("training", trainer.max_steps * self.batch_size, trainer.global_step * self.batch_size)
        self.step, self.clock = trainer.global_step, time.monotonic()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        """Show and log when it is time."""
        step = trainer.global_step
        if step % self.every and step < trainer.max_steps:
            return
        now = time.monotonic()
        rate = (step - self.step) * self.batch_size / (now - self.clock)
        self.seconds += now - self.clock
        self.step, self.clock = step, now
        pl_module.log("train/images_per_s", rate)
        if self.bar:
            loss = float(trainer.callback_metrics["train/loss"])
            self.bar.show(step * self.batch_size, f"loss {loss:.4f}  {rate:.0f} images/s ")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave validation and sampling out of the time."""
        self.step, self.clock = trainer.global_step, time.monotonic()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Leave the terminal as it was."""
        if self.bar:
            self.bar.stop()

    def state_dict(self) -> dict[str, Any]:
        """The seconds of training so far."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.seconds = state_dict["seconds"]
