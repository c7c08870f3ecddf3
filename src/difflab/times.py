"""Training times: which noise levels a batch is trained at, and the weight that keeps the objective unbiased."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor

from difflab.schedule import Schedule


class Times(Protocol):
    """A law of training times."""

    def __call__(self, schedule: Schedule, n: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """`n` times and their weights `p_uniform(t) / p(t)`, both of shape `(n,)`."""


@dataclass(frozen=True)
class Uniform:
    """Independent and uniform: U{1..T} on a table. Ho et al. 2020 (arXiv:2006.11239), Algorithm 1."""

    def __call__(self, schedule: Schedule, n: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """`n` times and their weights, which are 1."""
        u = torch.rand(n, generator=generator, dtype=torch.float64)
        return schedule.time(u), torch.ones(n, dtype=torch.float64)


@dataclass(frozen=True)
class Stratified:
    """Uniform, one time in each n-th of the axis, in random order: `(k + u) / n` with a common offset u.

    Kingma et al. 2021 (arXiv:2107.00630), appendix I.1.
    """

    def __call__(self, schedule: Schedule, n: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """`n` times and their weights, which are 1."""
        u = torch.rand(1, generator=generator, dtype=torch.float64)
        k = torch.randperm(n, generator=generator)
        return schedule.time((k + u) / n), torch.ones(n, dtype=torch.float64)
