"""The norms of gradients and weights by block."""

from __future__ import annotations

from collections.abc import Sequence

import lightning.pytorch as pl
from torch.optim import Optimizer

from difflab.experiment.parts.errors import suggestion
from difflab.paradigm.base import Paradigm
from difflab.paradigm.divergence import norms_by_block

WATCHED = ("gradients", "weights")


class Norms(pl.Callback):
    """Log the norm of each block's gradient, before it is clipped, or of its weights, or both, with each row.

    As `gradients/BLOCK` and `weights/BLOCK`. Raises ValueError for other words than `gradients`, `weights` and `all`.
    """

    def __init__(self, watch: str) -> None:
        if watch not in (*WATCHED, "all"):
            raise ValueError(f"watch={watch}; {suggestion(watch, [*WATCHED, 'all'])}")
        self.watched: Sequence[str] = WATCHED if watch == "all" else (watch,)

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Log them at the steps that have a row."""
        every = trainer.log_every_n_steps  # type: ignore[attr-defined]  # set by a connector
        if isinstance(pl_module, Paradigm) and (trainer.global_step + 1) % every == 0:
            for what in self.watched:
                norms = norms_by_block(pl_module.learned, gradients=what == "gradients")
                pl_module.log_dict({f"{what}/{block}": norm for block, norm in norms.items()})
