"""Stopping at any moment without loss."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType
from typing import Any

import lightning.pytorch as pl
import torch


class Interrupted(SystemExit):
    """The run was asked to stop and has saved its state."""


class Resumable(pl.Callback):
    """Write the state to go on from to `path`: every so many steps, and before leaving on SIGINT or SIGTERM.

    A signal is answered after the step at hand, for half an optimiser step could not be resumed; the exit status is
    then 128 + signal. A second signal ends the process at once. Comes last of the callbacks.
    """

    def __init__(self, path: Path, every: int) -> None:
        self.path, self.every = path, every
        self.signal = 0
        self.before: dict[int, Any] = {}

    def note(self, signum: int, frame: FrameType | None) -> None:
        """Remember the signal, and hand the next one to whoever had it before."""
        self.signal = signum
        signal.signal(signum, self.before[signum])

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen."""
        self.before = {s: signal.signal(s, self.note) for s in (signal.SIGINT, signal.SIGTERM)}

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        """Save when it is time; save and leave if any process was asked to."""
        asked = self.signal
        if trainer.world_size > 1:
            asked = int(trainer.strategy.reduce(torch.tensor(asked, device=pl_module.device), reduce_op="max"))
        if asked or trainer.global_step % self.every == 0 or trainer.global_step == trainer.max_steps:
            trainer.save_checkpoint(self.path)
        if asked:
            raise Interrupted(128 + asked)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Listen no more."""
        for signum, handler in self.before.items():
            signal.signal(signum, handler)
        self.before = {}
