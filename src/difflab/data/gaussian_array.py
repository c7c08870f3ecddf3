"""Arrays of any shape drawn from a Gaussian: all that is done with such data has a closed form."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from difflab.data.components import Components
from difflab.data.images import Images, Split
from difflab.data.ranges import Count, Real, Seed


@dataclass(frozen=True, kw_only=True)
class GaussianArray:
    """N(mean, var I) of one sample's `shape`: `n` samples to train on and `held_out` others, a function of `seed`.

    Raises ValueError for a set without samples, and for a shape or a variance that is not positive.
    """

    shape: Sequence[Count]
    mean: Real = 0.2
    var: float = 0.09
    n: Count = 4000
    held_out: Count = 1000
    seed: Seed = 0

    def __post_init__(self) -> None:
        if min(self.n, self.held_out) < 1:
            raise ValueError(f"n={self.n} and held_out={self.held_out} must be 1 at least")
        if not self.shape or min(self.shape) < 1 or not self.var > 0:
            raise ValueError(f"shape={list(self.shape)} and var={self.var} must be positive")

    def load(self) -> Images:
        """Draw both splits, from streams of their own."""
        generator = torch.Generator().manual_seed(self.seed)
        return Images(self._split(self.n, generator), self._split(self.held_out, generator))

    def _split(self, n: int, generator: torch.Generator) -> Split:
        x = self.mean + math.sqrt(self.var) * torch.randn(n, *self.shape, generator=generator)
        return Split(x, torch.zeros(n, dtype=torch.int64))

    @property
    def components(self) -> Components:
        """The one Gaussian: means (1, *shape)."""
        mean = torch.full((1, *self.shape), self.mean, dtype=torch.float64)
        return Components(mean, mean.new_tensor([self.var]), mean.new_ones(1))

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density in nats of samples (N, *shape): (N,), in float64 on the CPU."""
        rows = (x.cpu().double() - self.mean).flatten(1)
        return -0.5 * (rows.square().sum(1) / self.var + rows.shape[1] * math.log(2 * math.pi * self.var))
