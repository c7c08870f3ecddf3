"""Clip the estimate of the clean sample to the range of the data."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from difflab.denoiser.base import AnyDenoiser, Estimate
from difflab.guidance.base import Guided
from difflab.process.ranges import Positive


@dataclass(frozen=True)
class Clip:
    """`x0` clipped to [-limit, limit], and the noise that then explains `x_t`.

    Ho et al. 2020 (arXiv:2006.11239), section 3.2, as their code does.
    """

    limit: Positive = 1.0

    def __call__(self, denoiser: AnyDenoiser) -> AnyDenoiser:
        """The clipping denoiser."""
        return Clipped(denoiser, self.limit)


class Clipped(Guided):
    """A denoiser whose clean estimate stays within [-limit, limit]."""

    def __init__(self, denoiser: AnyDenoiser, limit: float) -> None:
        super().__init__(denoiser)
        self.limit = limit

    @override
    def gain(self, t: Tensor) -> Tensor:
        return torch.zeros_like(t)  # an error of x0 stays within the range

    def forward(self, x: Tensor, t: Tensor, label: Tensor, s: Tensor | None = None) -> Estimate:
        """Estimate from samples `(B, *)` at times `()` or `(B,)` and labels `(B,)`; `s` as in `Denoise`."""
        estimate: Estimate = self.denoiser(x, t, label, s)
        return self.with_x0(estimate, x, t, estimate.x0.clamp(-self.limit, self.limit))
