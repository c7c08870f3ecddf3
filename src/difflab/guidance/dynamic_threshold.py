"""Clip the estimate of the clean sample to its own range, shrunk into the data's."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from difflab.denoiser.base import AnyDenoiser, Estimate
from difflab.guidance.base import Guided


@dataclass(frozen=True)
class DynamicThreshold:
    """`clip(x0, -s, s) limit / s`, with `s` the `quantile` of a sample's |x0|, at least `limit`.

    Saharia et al. 2022 (arXiv:2205.11487), section 2.3, for images in [-limit, limit]; their percentile p is
    100 quantile. `quantile = 0` is clip. Raises ValueError for a quantile outside [0, 1] and a limit that is not
    positive.
    """

    quantile: float = 0.995
    limit: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.quantile <= 1 or not self.limit > 0:
            raise ValueError(
                f"guidance.dynamic_threshold: quantile={self.quantile} must lie in [0, 1] (99.5 percent is 0.995) and "
                f"limit={self.limit} above 0"
            )

    def __call__(self, denoiser: AnyDenoiser) -> AnyDenoiser:
        """The thresholding denoiser."""
        return Thresholded(denoiser, self.quantile, self.limit)


class Thresholded(Guided):
    """A denoiser whose clean estimates are shrunk into [-limit, limit]."""

    def __init__(self, denoiser: AnyDenoiser, quantile: float, limit: float) -> None:
        super().__init__(denoiser)
        self.quantile, self.limit = quantile, limit

    @override
    def gain(self, t: Tensor) -> Tensor:
        return torch.zeros_like(t)  # an error of x0 stays within the range

    def forward(self, x: Tensor, t: Tensor, label: Tensor, s: Tensor | None = None) -> Estimate:
        """Estimate from samples `(B, *)` at times `()` or `(B,)` and labels `(B,)`; `s` as in `Denoise`."""
        estimate: Estimate = self.denoiser(x, t, label, s)
        rows = estimate.x0.flatten(1)
        s = rows.abs().quantile(self.quantile, 1, keepdim=True).clamp(min=self.limit)
        x0 = (rows.clamp(-s, s) * (self.limit / s)).view_as(estimate.x0)
        return self.with_x0(estimate, x, t, x0)
