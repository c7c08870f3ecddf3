"""Steps of times: where the step of a flow map starts, and where it ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Generator, Tensor

from difflab.objective.times import Times
from difflab.process.ranges import Rounds
from difflab.process.schedule import Schedule


class Steps(Protocol):
    """A joint law of the start `t` and the end `s <= t` of a step, both float64 `(n,)`."""

    @property
    def diagonal(self) -> float:
        """The share of steps of no length."""

    def __call__(
        self, schedule: Schedule, times: Times, t: Tensor, g: Generator, progress: float
    ) -> tuple[Tensor, Tensor]:
        """The pairs `(t, s)` of the times `t`, which were drawn by the law `times`; `g` draws what else is needed."""


@dataclass(frozen=True)
class ToData:
    """Steps to the data, `s = 0`: what consistency models make. Song et al. 2023 (arXiv:2303.01469)."""

    diagonal: ClassVar[float] = 0.0

    def __call__(
        self, schedule: Schedule, times: Times, t: Tensor, g: Generator, progress: float
    ) -> tuple[Tensor, Tensor]:
        """The times as they are, and zeros."""
        return t, torch.zeros_like(t)


@dataclass(frozen=True)
class Sorted:
    """Two times by the law of training, the later one first; a share `diagonal` of steps has no length.

    Geng et al. 2025 (arXiv:2505.13447).
    """

    diagonal: float = 0.75

    def __post_init__(self) -> None:
        if not 0 <= self.diagonal < 1:
            raise ValueError(f"{self}: the share of steps of no length must lie in [0, 1)")

    def __call__(
        self, schedule: Schedule, times: Times, t: Tensor, g: Generator, progress: float
    ) -> tuple[Tensor, Tensor]:
        """The larger and the smaller, or the first twice."""
        u, _ = times(schedule, len(t), g, progress)
        alone = torch.rand(len(t), generator=g) < self.diagonal
        return torch.where(alone, t, torch.maximum(t, u)), torch.where(alone, t, torch.minimum(t, u))


@dataclass(frozen=True)
class Dyadic:
    """Steps of `1, 1/2, 1/4, ..` of the axis from multiples of themselves; a share `diagonal` has no length.

    The shortest is `2 / steps`, so that its halves are those of `steps` steps. Frans et al. 2024 (arXiv:2410.12557),
    with 128 steps and a share of 3/4 (7/8 in their code).
    """

    steps: int = 128
    diagonal: float = 0.75

    def __post_init__(self) -> None:
        if self.steps < 2 or self.steps & (self.steps - 1) or not 0 <= self.diagonal < 1:
            raise ValueError(f"{self} needs steps=2, 4, 8, .. and a share of steps of no length in [0, 1)")

    def __call__(
        self, schedule: Schedule, times: Times, t: Tensor, g: Generator, progress: float
    ) -> tuple[Tensor, Tensor]:
        """Steps on the grid of their own length, and the times of the law as they are where there is no step."""
        n = len(t)
        pieces = 2 ** torch.randint(self.steps.bit_length() - 1, (n,), generator=g).double()  # 1, 2, .., steps / 2
        k = 1 + (torch.rand(n, generator=g, dtype=torch.float64) * pieces).floor()
        start, end = (schedule.time(each / pieces) for each in (k, k - 1))
        alone = torch.rand(n, generator=g) < self.diagonal
        return torch.where(alone, t, start), torch.where(alone, t, torch.where(k == 1, 0.0, end))


@dataclass(frozen=True)
class Halved:
    """Steps of a grid of `first`, half, a quarter, .. as many, by turns, of which the last has one.

    The turns have equal shares of the budget; `rounds` of them. Salimans & Ho 2022 (arXiv:2202.00512), algorithm 2.
    """

    rounds: Rounds = 6
    diagonal: ClassVar[float] = 0.0

    def __call__(
        self, schedule: Schedule, times: Times, t: Tensor, g: Generator, progress: float
    ) -> tuple[Tensor, Tensor]:
        """Steps of the round's grid, each as often."""
        pieces = 2 ** (self.rounds - 1 - min(int(progress * self.rounds), self.rounds - 1))
        k = torch.randint(1, pieces + 1, t.shape, generator=g).double()
        return schedule.time(k / pieces), torch.where(k == 1, 0.0, schedule.time((k - 1) / pieces))


@dataclass(frozen=True)
class WholeWay:
    """One step, from noise to data."""

    diagonal: ClassVar[float] = 0.0

    def __call__(
        self, schedule: Schedule, times: Times, t: Tensor, g: Generator, progress: float
    ) -> tuple[Tensor, Tensor]:
        """The ends of the axis."""
        return torch.full_like(t, schedule.t_max), torch.zeros_like(t)
