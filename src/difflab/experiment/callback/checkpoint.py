"""Stopping at any moment without loss."""

from __future__ import annotations

import signal
from contextlib import nullcontext
from pathlib import Path
from pickle import UnpicklingError
from types import FrameType
from typing import Any

import lightning.pytorch as pl
import torch

from difflab.experiment.files import atomic

SIGNAL_SYNC_STEPS = 10  # between two looks at whether another process was sent a signal


class Interrupted(SystemExit):
    """The run was asked to stop and has saved its state."""


class Resumable(pl.Callback):
    """Write the state to go on from to `path`: after each validation, at the end, and on SIGINT or SIGTERM.

    A signal is answered after the step at hand, and the validation if one is due after it, for their halves could not
    be resumed; the exit status is then 128 + signal. A second signal ends the process at once. Comes last of the
    callbacks; `every` is the number of steps between validations.
    """

    def __init__(self, path: Path, every: int) -> None:
        self.path, self.every = path, every
        self.signal = 0
        self.before: dict[int, Any] = {}

    def note(self, signum: int, frame: FrameType | None) -> None:
        """Remember the signal, and hand the next one to whoever had it before."""
        self.signal = signum
        signal.signal(signum, self.before[signum])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen, now that Lightning has installed its own handlers."""
        self.before = {s: signal.signal(s, self.note) for s in (signal.SIGINT, signal.SIGTERM)}

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        """Leave if that was asked."""
        step = trainer.global_step
        due = step % self.every and (trainer.world_size == 1 or step % SIGNAL_SYNC_STEPS == 0)
        if due and (asked := self.asked(trainer, pl_module.device)):
            self.save(trainer, asked)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save, and leave if that was asked."""
        self.save(trainer, self.asked(trainer, pl_module.device))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the last state."""
        self.save(trainer, 0)

    def asked(self, trainer: pl.Trainer, device: torch.device) -> int:
        """The signal that any of the processes was sent."""
        if trainer.world_size == 1:
            return self.signal
        return int(trainer.strategy.reduce(torch.tensor(self.signal, device=device), reduce_op="max"))

    def save(self, trainer: pl.Trainer, asked: int) -> None:
        """Write the state; leave if there was a signal."""
        with atomic(self.path) if trainer.is_global_zero else nullcontext(self.path) as unfinished:
            trainer.save_checkpoint(unfinished)  # by all processes, of which the first one writes
        if asked:
            raise Interrupted(128 + asked)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Listen no more."""
        for signum, handler in self.before.items():
            signal.signal(signum, handler)
        self.before = {}


def saved_step(checkpoint: Path) -> int:
    """The step that a checkpoint goes on from, 0 where there is none. Raises ValueError if it cannot be read."""
    if not checkpoint.exists():
        return 0
    try:
        step: int = torch.load(checkpoint, map_location="meta", weights_only=True)["global_step"]
    except (RuntimeError, EOFError, KeyError, UnpicklingError) as error:
        raise ValueError(f"{checkpoint} is damaged; remove it, and the run starts again") from error
    return step
