"""Gaps: how far apart the two samples are that discrete consistency training compares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from difflab.process.schedule import Schedule


class Gap(Protocol):
    """How far back the sample is that a step is compared with."""

    def __call__(self, schedule: Schedule, t: Tensor, s: Tensor, progress: float) -> Tensor:
        """The times `r` with `s <= r < t`, `(B,)`."""


@dataclass(frozen=True)
class Shrinking:
    """`r = t (1 - (1 + k sigmoid(-b t)) / q^(stage + 1))` in `t = sigma / alpha`, or 0: a gap that shrinks by stages.

    The `stages` follow each other evenly over the budget. Geng et al. 2024, Easy Consistency Tuning (arXiv:2406.14548),
    eq. 10, whose code doubles the stage at given numbers of images.
    """

    q: float = 2.0
    k: float = 8.0
    b: float = 1.0
    stages: int = 8

    def __call__(self, schedule: Schedule, t: Tensor, s: Tensor, progress: float) -> Tensor:
        """The times."""
        stage = min(int(progress * self.stages), self.stages - 1)
        level = (-schedule.log_snr(t) / 2).exp()
        kept = 1 - (1 + self.k * (-self.b * level).sigmoid()) / self.q ** (stage + 1)
        r = schedule.time_at(-2 * (level * kept.clamp(min=1e-9)).log())
        return torch.where(kept > 0, torch.minimum(torch.maximum(r, s), t), s)
