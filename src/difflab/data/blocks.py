"""Batches of samples in memory, and the loader that serves them."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from difflab.data.images import Batch, Split
from difflab.data.order import Block


class Blocks(Dataset[Batch]):
    """A split indexed by whole blocks: one gather a batch."""

    def __init__(self, split: Split) -> None:
        # numpy gathers on one thread; torch would wake its pool for these few bytes, slow where cores are contended.
        self.x, self.y = split.x.numpy(), split.y.numpy()  # of captions, y is the first form of each
        self.eps = None if split.eps is None else split.eps.numpy()

    def __getitem__(self, block: Block) -> Batch:
        eps = None if self.eps is None else gather(self.eps, block)
        return Batch(gather(self.x, block), torch.from_numpy(self.y[block.images] + block.form), eps)


def gather(rows: NDArray[Any], block: Block) -> Tensor:
    """The rows of a block, mirrored where it is marked."""
    chosen = rows[block.images]
    chosen[block.mirrored] = chosen[block.mirrored, ..., ::-1]
    return torch.from_numpy(chosen)


class StepLoader(DataLoader[Batch]):
    """A loader whose position is the trainer's global step: it keeps no state, and declares that to Lightning."""

    def state_dict(self) -> dict[str, int]:
        """Nothing: the order is a function of the step."""
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Nothing to restore."""
