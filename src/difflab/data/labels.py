"""The labels of samples that are to be drawn: by the names of classes, in turn, and as data for `trainer.predict`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from difflab.data.order import Divided

LISTED = 20  # classes that a refusal names


def label_of(key: str, word: object, names: Sequence[str], classes: int) -> int:
    """The label that a word stands for: the name of a class, or its number. Raises ValueError for another."""
    known = [*map(str, names)]
    folded = [name.casefold() for name in known]
    if str(word) in known:
        return known.index(str(word))
    if folded.count(str(word).casefold()) == 1:
        return folded.index(str(word).casefold())
    if str(word).isdecimal() and int(str(word)) < classes:
        return int(str(word))
    listing = ", ".join(f"{k} {name}" for k, name in enumerate(known[:LISTED]))
    more = f": {listing}{', ..' if len(known) > LISTED else ''}" if known else ""
    raise ValueError(f"{key}={word} is none of this run's {classes} classes, which count from 0{more}")


def in_turn(n: int, classes: int, y: Tensor | None = None) -> Tensor:
    """The labels of n samples to be drawn, int64 (n,): 0, 1, .. classes - 1, 0, ..; without classes the null label, 0.

    Or those of real samples `y` (N,), spread over them, as `Images.looked_up` gives them.
    """
    if classes == 0 or y is None:
        return torch.arange(n) % max(classes, 1)
    chosen = y[torch.linspace(0, len(y) - 1, min(n, len(y))).round().long()]
    return chosen[torch.arange(n) % len(chosen)]


class Wanted(Dataset[tuple[int, int]]):
    """Sample k and its label."""

    def __init__(self, labels: Sequence[int]) -> None:
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, k: int) -> tuple[int, int]:
        return k, self.labels[k]


class Labels(LightningDataModule):
    """`n` samples to be drawn, with the `labels` in turn: batches of `(k, label)`, both int64 (B,), for k in 0..n-1.

    `labels` are `range(10)` for as many samples of each of ten classes, `[3]` for one class, `[10]` for the null label
    of ten classes, and `[0]` for a model without classes. Each sample is drawn by one process, in blocks of consecutive
    k, `batch_size` at a time. Raises ValueError for no samples or no labels.
    """

    def __init__(self, n: int, labels: Sequence[int], batch_size: int = 256) -> None:
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True  # where there are fewer samples than processes
        if n < 1 or batch_size < 1 or not len(labels):
            raise ValueError(f"Labels(n={n}, labels={labels}, batch_size={batch_size}): give at least one of each")
        self.labels = [int(labels[k % len(labels)]) for k in range(n)]
        self.batch_size = batch_size

    def predict_dataloader(self) -> DataLoader[tuple[int, int]]:
        """The batches of this process."""
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        n = len(self.labels)
        mine = Divided(range(n * rank // world, n * (rank + 1) // world))
        return DataLoader(Wanted(self.labels), batch_size=self.batch_size, sampler=mine)
