"""Guidance at some noise levels only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from difflab.denoiser.base import AnyDenoiser, Estimate
from difflab.guidance.base import Guided, unguided
from difflab.process.ranges import Bound
from difflab.process.schedule import Schedule


@dataclass(frozen=True)
class Interval:
    """The guidance before it where `low <= sigma / alpha <= high`, and none of it elsewhere.

    Kynkaanniemi et al. 2024 (arXiv:2404.07724); the defaults are theirs for EDM2-XXL on ImageNet-512. What has
    to hold at every level, as clip, comes after it in the list. Raises ValueError for an empty interval.
    """

    limits: ClassVar[bool] = True  # the guidances before it
    low: float = 0.19
    high: Bound = 1.61

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high:
            raise ValueError(f"guidance.interval needs 0 <= low < high, not low={self.low} and high={self.high}")

    def __call__(self, denoiser: AnyDenoiser) -> AnyDenoiser:
        """The denoiser that is guided between the two levels; where nothing guides it, the denoiser itself."""
        return denoiser if unguided(denoiser) is denoiser else Limited(denoiser, self.low, self.high)


class Limited(Guided):
    """A denoiser that is guided between two noise levels, and unguided elsewhere."""

    def __init__(self, denoiser: AnyDenoiser, low: float, high: float) -> None:
        super().__init__(denoiser)
        self.low, self.high = low, high

    def inside(self, schedule: Schedule, t: Tensor) -> Tensor:
        """Whether there is guidance at the times `t`, of any shape."""
        m = schedule(t)
        level = m.sigma / m.alpha
        return (self.low <= level) & (level <= self.high)

    @override
    def nfe(self, t: Tensor) -> int:
        inside = self.schedule.at(self.inside, t)
        return bool(inside.any()) * self.denoiser.nfe(t) + (not inside.all()) * unguided(self).nfe(t)

    def forward(self, x: Tensor, t: Tensor, label: Tensor, s: Tensor | None = None) -> Estimate:
        """Estimate from samples `(B, *)` at times `()` or `(B,)` and labels `(B,)`; `s` as in `Denoise`."""
        inside = self.schedule.at(self.inside, t)
        if not inside.any():
            off: Estimate = unguided(self)(x, t, label, s)
            return off
        on: Estimate = self.denoiser(x, t, label, s)
        if inside.all():
            return on
        off = unguided(self)(x, t, label, s)
        here = inside.to(x.device).reshape(-1, *[1] * (x.ndim - 1))
        x0, eps, out = (torch.where(here, a, b) for a, b in zip(on[:3], off[:3], strict=True))
        return on._replace(x0=x0, eps=eps, out=out)
