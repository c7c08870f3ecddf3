"""The filter of preconditioned Langevin dynamics."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Preconditioner:
    """A filter `M`: `gain` at frequencies up to `radius`, of which 1 is the highest along an axis, else 1.

    The low frequencies of images vary the most and take the most updates to settle, so they take longer steps. In Ma
    et al. 2022 (arXiv:2207.02196) the filter is made from the mean spectrum of the data; this one asks for no data.
    """

    radius: float = 0.4
    gain: float = 1.25

    def __post_init__(self) -> None:
        if not (self.radius > 0 and self.gain > 0):
            raise ValueError(f"sampler.precondition: radius={self.radius} and gain={self.gain} must be positive")

    def __call__(self, x: Tensor) -> Tensor:
        """`M x`, where M is its own transpose. Raises ValueError unless `x: (B, C, ...)` has axes after C."""
        sides = x.shape[2:]
        if not sides:
            raise ValueError("points have no frequencies to precondition: choose sampler.precondition=null")
        axes = [torch.fft.fftfreq(side, device=x.device) for side in sides[:-1]]
        axes.append(torch.fft.rfftfreq(sides[-1], device=x.device))
        frequency = torch.stack(torch.meshgrid(axes, indexing="ij")).square().sum(0).sqrt()
        filter = torch.where(frequency <= self.radius / 2, self.gain, 1.0)
        dim = tuple(range(2, x.ndim))
        filtered: Tensor = torch.fft.irfftn(filter * torch.fft.rfftn(x, dim=dim), s=sides, dim=dim)
        return filtered
