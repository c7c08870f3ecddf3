"""Gaps: how far apart the two samples are that discrete consistency training compares."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from typing_extensions import override

from difflab.process.ranges import Count, Positive
from difflab.process.schedule import Schedule


class Gap(Protocol):
    """How far back the sample is that a step is compared with."""

    def __call__(self, schedule: Schedule, t: Tensor, s: Tensor, progress: float) -> Tensor:
        """The times `r` with `s <= r < t`, `(B,)`."""


@dataclass(frozen=True)
class Shrinking:
    """`r = t (1 - (1 + k sigmoid(-b t)) / q^(stage + 1))` in `t = sigma / alpha`, or 0: a gap that shrinks by stages.

    The `stages` have equal shares of the budget. Geng et al. 2024, Easy Consistency Tuning (arXiv:2406.14548). Their
    code goes to the next stage at given numbers of images.
    """

    q: Positive = 2.0
    k: Positive = 8.0
    b: Positive = 1.0
    stages: Count = 8

    def __call__(self, schedule: Schedule, t: Tensor, s: Tensor, progress: float) -> Tensor:
        """The times."""
        stage = min(int(progress * self.stages), self.stages - 1)
        low, high = ramp(schedule)
        level = (-schedule.log_snr(t) / 2).exp().clamp(max=high)
        below = level * (1 - (1 + self.k * (-self.b * level).sigmoid()) / self.q ** (stage + 1))
        return time_of(schedule, below, low, s)


@dataclass(frozen=True)
class Share:
    """The same part of the axis, one of `n`, at all times."""

    n: Count = 40

    def __call__(self, schedule: Schedule, t: Tensor, s: Tensor, progress: float) -> Tensor:
        """The times; the last ones are `s`."""
        return torch.maximum(t - (schedule.t_max - schedule.t_min) / self.n, s)


def ramp(schedule: Schedule, rho: float = 1.0) -> tuple[Tensor, Tensor]:
    """The ends of `(sigma / alpha)^(1 / rho)` on a schedule, as far as the log-SNR -9: the least and the largest.

    Karras et al. 2022 (arXiv:2206.00364), eq. 5, whose largest noise level, 80, has the log-SNR -8.8.
    """
    ends = torch.tensor([schedule.t_min, schedule.t_max], dtype=torch.float64)
    low, high = (-schedule.log_snr(ends).clamp(min=-9.0) / 2 / rho).exp()
    return low, high


def time_of(schedule: Schedule, level: Tensor, low: Tensor, s: Tensor, rho: float = 1.0) -> Tensor:
    """The times of values of `(sigma / alpha)^(1 / rho)`, `s` at the least; `s` itself where they are `low` or less."""
    r = schedule.time_at(-2 * rho * level.clamp(min=low).log())
    return torch.where(level > low, torch.maximum(r, s), s)


@dataclass(frozen=True)
class Karras:
    """One step of a grid that is uniform in `(sigma / alpha)^(1 / rho)`, of `first` steps and later up to `last`.

    Their number doubles in turns of equal length: Song & Dhariwal 2023 (arXiv:2310.14189), whose times lie on the grid.
    Here a step leads down from any time, and the last one to `s`. Grid: Karras et al. 2022 (arXiv:2206.00364), eq. 5.
    Raises ValueError unless `first <= last`.
    """

    first: Count = 10
    last: Count = 1280
    rho: Positive = 7.0

    def __post_init__(self) -> None:
        if self.first > self.last:
            raise ValueError(f"residual.gap.first={self.first} must be residual.gap.last={self.last} or less")

    def steps(self, progress: float) -> int:
        """`min(first 2^turn, last)`, of which `log2 floor(last / first) + 1` turns take the whole budget."""
        turns = math.log2(max(self.last // self.first, 1)) + 1
        doubled: int = self.first * 2 ** int(progress * turns)
        return min(doubled, self.last)

    def __call__(self, schedule: Schedule, t: Tensor, s: Tensor, progress: float) -> Tensor:
        """The times."""
        low, high = ramp(schedule, self.rho)
        level = (-schedule.log_snr(t) / 2 / self.rho).exp().clamp(max=high)
        return time_of(schedule, level - (high - low) / self.steps(progress), low, s, self.rho)


@dataclass(frozen=True)
class KarrasRoot(Karras):
    """The same with one step more at a time, `first - 1` to `last` in all, as the root of the budget that is over.

    Song et al. 2023 (arXiv:2303.01469), appendix C: `N(k) = ceil(sqrt(k/K ((s1 + 1)^2 - s0^2) + s0^2) - 1) + 1` points
    at step k of K, with `s0 = first` and `s1 = last`, and so many steps less one.
    """

    first: Count = 2
    last: Count = 150

    @override
    def steps(self, progress: float) -> int:
        """`N(k) - 1`."""
        root = math.sqrt(progress * ((self.last + 1) ** 2 - self.first**2) + self.first**2)
        return math.ceil(root - 1)
