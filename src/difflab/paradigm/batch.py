"""Batches of clean samples: what they hold, how many samples they are over all processes, which ones are logged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import torch
import torch.distributed as dist
from torch import Tensor

Batch = tuple[Tensor, Tensor, Tensor | None]  # x0, label, and the noise that belongs to x0 already


def place() -> tuple[int, int]:
    """The rank of this process, and how many processes train together."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def gathered(own: Tensor, device: torch.device) -> Tensor:
    """The rows of all processes in order, sent by way of `device`; each process must have as many."""
    if place()[1] == 1:
        return own
    rows = own.to(device).contiguous()
    dist.all_gather(everyone := [torch.empty_like(rows) for _ in range(place()[1])], rows)
    return torch.cat(everyone).to(own.device)


def global_batch_size(trainer: pl.Trainer) -> int:
    """The samples of a step over all processes, of the loop that runs.

    Those of difflab's data module have it beside their sampler; another loader's batches are those of one process.
    Raises ValueError if the loader states no batch size.
    """
    if trainer.training and trainer.train_dataloader is None:  # the optimizer is made before the loader
        size = getattr(getattr(trainer, "datamodule", None), "global_batch_size", None)
        if size is not None:  # its loader begins at the step, which is not known yet
            return int(size)
        trainer.fit_loop.setup_data()
    held_out = trainer.test_dataloaders if trainer.testing else trainer.val_dataloaders
    loader = trainer.train_dataloader if trainer.training else held_out
    if (size := getattr(getattr(loader, "sampler", None), "global_batch_size", None)) is not None:
        return int(size)
    if (size := getattr(getattr(loader, "batch_sampler", None), "batch_size", None)) is not None:
        return int(size) * trainer.world_size
    raise ValueError(
        f"{type(loader).__name__} does not state its batch size: give the model batch_size, the number of samples of a "
        f"step over all processes, or train on a torch DataLoader or a difflab.data.DataModule"
    )


def unpacked(batch: Any, shape: Sequence[int]) -> Batch:  # noqa: ANN401  # any batch of a loader
    """A batch `(x0, label)` or `(x0, label, eps)`. Raises ValueError for samples of another shape or type."""
    x0, label, eps = batch if len(batch) == 3 else (*batch, None)
    if not x0.is_floating_point() or x0.shape[1:] != torch.Size(shape):
        raise ValueError(
            f"a batch is (x, label), with x of float (B, {', '.join(map(str, shape))}), images in [-1, 1], and label "
            f"of int64 (B,); this x is {x0.dtype} {tuple(x0.shape)}"
        )
    return x0, label, eps


def is_logged(trainer: pl.Trainer) -> bool:
    """Whether the step has a row in the log, or is the first, or the last of an epoch or of the training."""
    step = trainer.global_step + 1
    every = trainer.log_every_n_steps  # type: ignore[attr-defined]  # set by a connector
    return step in (1, trainer.max_steps) or trainer.is_last_batch or (every > 0 and step % every == 0)
