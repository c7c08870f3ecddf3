"""The order in which training sees the images: a pure function of (seed, step)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DistributedSampler

T = TypeVar("T")


TRAINING, HELD_OUT = 0, 1  # streams of batches
NORMAL = 1  # ends the keys of normal numbers, which no key of an order does


class Block(NamedTuple):
    """Which images make a batch, which are mirrored, and which form of each one's caption is seen.

    And the key of the batch, and the place of the first image in it.
    """

    images: NDArray[np.int64]
    mirrored: NDArray[np.bool_]
    form: NDArray[np.int64]
    key: tuple[int, int] = (TRAINING, 0)  # the stream and the number of the batch
    first: int = 0

    @classmethod
    def plain(cls, n: int) -> Block:
        """The first n images as they are."""
        return cls(np.arange(n), np.zeros(n, bool), np.zeros(n, np.int64))

    def cut(self, start: int, stop: int) -> Block:
        """The images start..stop-1 of this block."""
        mine = slice(start, stop)
        return Block(self.images[mine], self.mirrored[mine], self.form[mine], self.key, self.first + start)

    def numbered(self, stream: int, number: int) -> Block:
        """The block as a batch of its own."""
        return self._replace(key=(stream, number), first=0)

    def normal(self, seed: int, shape: Sequence[int]) -> Tensor:
        """Standard normal numbers `(len, *shape)`: a function of the seed, the key and the place in the batch."""
        rng = np.random.default_rng((seed, *self.key, NORMAL))
        return torch.from_numpy(rng.standard_normal((self.first + len(self.images), *shape), np.float32)[self.first :])


def normal_rows(rows: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Standard normal numbers `(len(rows), *shape)`, each row a function of its number alone."""
    drawn = [np.random.default_rng((HELD_OUT, row, NORMAL)).standard_normal(shape, np.float32) for row in rows]
    return torch.from_numpy(np.stack(drawn) if drawn else np.empty((0, *shape), np.float32))


@dataclass(frozen=True)
class Order:
    """The images that each training step sees.

    Epoch e is the permutation drawn from the key (seed, e), cut into blocks of batch_size; its incomplete last block is
    left out. Whether image i is mirrored in epoch e, and which of the `forms` of its caption is seen, depends on
    (seed, e, i) alone.
    Raises ValueError if the set is smaller than a batch.
    """

    n: int
    batch_size: int
    seed: int = 0
    flip: bool = False
    forms: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.batch_size <= self.n:
            raise ValueError(f"batch_size={self.batch_size} must lie in 1..{self.n}, the number of training images")

    @property
    def steps_per_epoch(self) -> int:
        """Number of whole blocks in an epoch."""
        return self.n // self.batch_size

    def epoch(self, epoch: int) -> Block:
        """All n images as this epoch orders them."""
        rng = np.random.default_rng((self.seed, epoch))
        images = rng.permutation(self.n)
        coin = rng.random(self.n) < 0.5
        form = rng.integers(self.forms, size=self.n) if self.forms > 1 else np.zeros(self.n, np.int64)
        return Block(images, coin[images] & self.flip, form[images])

    def blocks(self, start: int, stop: int) -> Iterator[Block]:
        """The global batches of the steps start..stop-1."""
        step = start
        while step < stop:
            epoch, first = divmod(step, self.steps_per_epoch)
            order = self.epoch(epoch)
            last = min(self.steps_per_epoch, first + stop - step)
            for b in range(first, last):
                block = order.cut(b * self.batch_size, (b + 1) * self.batch_size)
                yield block.numbered(TRAINING, step + b - first)
            step += last - first


def share(batch_size: int, world: int) -> int:
    """One process's part of the global batch; raises ValueError if that is no whole number."""
    if batch_size % world:
        raise ValueError(f"batch_size={batch_size} is the global batch: make it a multiple of the {world} processes")
    return batch_size // world


class Divided(DistributedSampler[T]):
    """The items of one process, in order: they are divided among the processes already.

    It is a DistributedSampler because Lightning replaces samplers of any other type. Where the items are blocks,
    `global_batch_size` counts the samples of a block over all processes.
    """

    def __init__(self, items: Sequence[T], global_batch_size: int | None = None) -> None:
        self.items, self.global_batch_size = items, global_batch_size

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)


class Shard(Divided[Block]):
    """One rank's slice of the global batches of the steps start..stop-1; the ranks' slices in turn make up the batch.

    Raises ValueError if batch_size is not a multiple of the number of processes.
    """

    def __init__(self, order: Order, start: int, stop: int, rank: int = 0, world: int = 1) -> None:
        self.order, self.start, self.stop, self.rank = order, start, stop, rank
        self.size, self.global_batch_size = share(order.batch_size, world), order.batch_size

    def __len__(self) -> int:
        # Not stop - start: a resumed Lightning counts the batches before start as fetched already, and knows the last
        # batch by comparing that count with this length.
        return self.stop

    def __iter__(self) -> Iterator[Block]:
        for block in self.order.blocks(self.start, self.stop):
            yield block.cut(self.rank * self.size, (self.rank + 1) * self.size)
