"""Stopping at any moment without loss."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import nullcontext, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import lightning.pytorch as pl
import torch

from difflab.experiment.machine.signals import answer, asking
from difflab.experiment.store.checkpoint import replaced
from difflab.paradigm.divergence import Diverged

SIGNAL_SYNC_STEPS = 10  # between two looks at whether another process was sent a signal


class Resumable(pl.Callback):
    """Write the state to go on from to `path`: after each validation, at the end, and when a signal asks to stop.

    A signal is answered after the step at hand, or the one after that if this one is logged, and after the validation
    if one is due, for their halves could not be resumed; then the process ends as `answer` says. A second signal ends
    it at once. Comes last of the callbacks; `every` is the number of steps between validations.
    """

    def __init__(self, path: Path, every: int) -> None:
        self.path, self.every = path, every
        self.signal = 0
        self.saved = -1  # the step of the last state that was written
        self.before: dict[int, Any] = {}

    def note(self, signum: int, frame: FrameType | None) -> None:
        """Remember the signal, and hand the next one to whoever had it before."""
        self.signal = signum
        signal.signal(signum, self.before[signum])

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """See who listens, before Lightning does."""
        self.before = {number: signal.getsignal(number) for number in asking()}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Have the last step of a shorter training, and a validation that is none of this one, end as other steps do.

        Lightning counts a step that a validation followed when it comes to the validation again.
        """
        step, loop = checkpoint["global_step"], checkpoint["loops"]["fit_loop"]
        if step < trainer.max_steps:
            batches = loop["epoch_loop.batch_progress"]
            batches["is_last_batch"] = False
            if step % self.every and batches["total"]["completed"] == step:
                loop["epoch_loop.state_dict"]["_batches_that_stepped"] = step

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen, in place of Lightning's own handlers."""
        if threading.current_thread() is threading.main_thread():
            for number in self.before:
                signal.signal(number, self.note)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        """Leave if that was asked."""
        step, rows = trainer.global_step, trainer.log_every_n_steps  # type: ignore[attr-defined]  # set by a connector
        logs = rows > 1 and step % rows == 0  # the row of this step is written after this, and must not be lost
        looks = trainer.world_size == 1 or step % SIGNAL_SYNC_STEPS == SIGNAL_SYNC_STEPS // 2
        if step % self.every and looks and not logs and (asked := self.asked(trainer, pl_module.device)):
            self.save(trainer, asked)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save, and leave if that was asked."""
        self.save(trainer, self.asked(trainer, pl_module.device))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the last state, and leave if that was asked."""
        asked = self.asked(trainer, pl_module.device)
        if asked or trainer.global_step != self.saved:
            self.save(trainer, asked)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Save what a training that diverged had come to: its weights are those of the last finite step."""
        if isinstance(exception, Diverged) and trainer.global_step > self.saved:
            with suppress(Diverged):  # or are not finite: then the state before is kept
                self.save(trainer, 0)

    def asked(self, trainer: pl.Trainer, device: torch.device) -> int:
        """The signal that any of the processes was sent."""
        if trainer.world_size == 1:
            return self.signal
        return int(trainer.strategy.reduce(torch.tensor(self.signal, device=device), reduce_op="max"))

    def save(self, trainer: pl.Trainer, asked: int) -> None:
        """Write the state; leave if there was a signal."""
        with replaced(self.path) if trainer.is_global_zero else nullcontext(self.path) as unfinished:
            trainer.save_checkpoint(unfinished)  # by all processes, of which the first one writes
        self.saved = trainer.global_step
        if asked:
            if trainer.is_global_zero:
                done = f"stopped after step {trainer.global_step:,} of {trainer.max_steps:,}"
                print(f"\n{done}: the state is saved, and the same command goes on", flush=True)
            self.signal = 0
            self.restore()
            answer(asked)

    def restore(self) -> None:
        """Listen no more."""
        if threading.current_thread() is threading.main_thread():
            for number, handler in self.before.items():
                signal.signal(number, handler)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Listen no more; a signal that came too late to be answered goes to whoever listened before."""
        self.restore()
        if self.signal:
            os.kill(os.getpid(), self.signal)
