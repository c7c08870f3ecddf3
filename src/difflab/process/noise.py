"""Noise as a pure function of its key: the same at any batch size and on any number of processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

VERSION = 1  # of this law; it enters the identity of runs and the protocol card


def keyed(*key: int) -> Generator:
    """A CPU generator that is a pure function of its key."""
    return Generator().manual_seed(state(*key))


def state(*key: int) -> int:
    """The state of the generator of a key."""
    # the length too, since numpy takes (1, 2) and (1, 2, 0) for one key
    return int(np.random.SeedSequence((len(key), *key)).generate_state(1, np.uint64)[0])


@dataclass(frozen=True)
class SampleNoise:
    """Standard normal noise as a pure function of (seed, sample index, draw): no batch size or process count enters."""

    seed: int
    indices: Sequence[int]

    def __call__(self, x: Tensor, k: int) -> Tensor:
        """The `k`-th draw for samples like `x`, whose rows are the samples of `indices`."""
        drawn, g = torch.empty(len(self.indices), *x.shape[1:]), Generator()
        for row, i in zip(drawn, self.indices, strict=True):
            row.normal_(generator=g.manual_seed(state(self.seed, i, k)))
        return drawn.to(x)
