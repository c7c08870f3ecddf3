"""The progress of a training."""

from __future__ import annotations

import time
from typing import Any

import lightning.pytorch as pl

from difflab.experiment.machine.terminal import Bar
from difflab.experiment.training.callback.selection import Selection

TICK = 1e-6  # seconds; a clock may stand still


class RunProgress(pl.Callback):
    """Show and log, every so many steps, the loss and the images per second; `seconds` sums up the training alone.

    With a `selection` its last distance is shown, too.
    """

    def __init__(self, batch_size: int, selection: Selection | None = None, every: int = 10) -> None:
        self.batch_size, self.selection, self.every = batch_size, selection, every
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
        rate = (step - self.step) * self.batch_size / max(now - self.clock, TICK)
        self.seconds += now - self.clock
        self.step, self.clock = step, now
        pl_module.log("train/images_per_s", rate)
        if self.bar:
            loss = float(trainer.callback_metrics["train/loss"])
            self.bar.show(step * self.batch_size, f"loss {loss:.4f}  {rate:.0f} images/s{self.best}")

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say why the bar stands still."""
        if self.bar:
            self.bar.wait("held-out loss and pictures")

    @property
    def best(self) -> str:
        """The last distance to the samples that were set aside for selection, if there are any."""
        last = self.selection.last if self.selection else {}
        return "".join(f"  {name} {value:.4g}" for name, value in [*last.items()][:1])

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
