"""The training loss by noise level."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from difflab.paradigm.batch import place
from difflab.paradigm.diffusion import Diffusion

LEVELS = range(-10, 11, 2)  # log-SNRs; a sample counts for the nearest one


class LossByLevel(pl.Callback):
    """At each validation of a fit log the mean loss of the samples near each log-SNR, since the validation before.

    `train/loss_log_snr_4` is the loss at log-SNR 4 as the paradigm weights it, before the weights that make up for the
    law of the training times. Of losses that belong to no single level, as a VAE's, nothing is logged.
    """

    def __init__(self) -> None:
        self.sums = torch.zeros(2, len(LEVELS))  # of losses, and of samples

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        """Add the losses of a batch."""
        if isinstance(pl_module, Diffusion) and pl_module.at_times:
            loss = pl_module.loss_at
            self.sums = self.sums.to(loss.device)
            self.sums += by_level(pl_module.schedule.log_snr(pl_module.noised_at), loss)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log them, and begin anew."""
        if trainer.state.fn != "fit":
            return
        total, n = trainer.strategy.reduce(self.sums, reduce_op="sum").tolist()
        self.sums = torch.zeros_like(self.sums)
        means = zip(LEVELS, total, n, strict=True)
        row = {f"train/loss_log_snr_{level}": loss / count for level, loss, count in means if count}
        if row and trainer.is_global_zero:
            for logger in trainer.loggers:
                logger.log_metrics(row, trainer.global_step - 1)

    def state_dict(self) -> dict[str, Any]:
        """The sums so far."""
        return {"sums": self.sums.tolist()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from them; those that were saved are the first process's."""
        if not place()[0]:
            self.sums = torch.tensor(state_dict["sums"])


def by_level(log_snr: Tensor, loss: Tensor) -> Tensor:
    """The sum of the losses `(B,)` near each of the levels, and their number, of those that are finite."""
    step = LEVELS.step
    nearest = ((log_snr.to(loss.device) - LEVELS[0]) / step).round().clamp(0, len(LEVELS) - 1).nan_to_num()
    known = loss.isfinite().to(torch.float32)
    each = torch.stack([loss.float().nan_to_num(0.0, 0.0, 0.0), known])
    return torch.zeros(2, len(LEVELS), device=loss.device).index_add(1, nearest.long(), each)
