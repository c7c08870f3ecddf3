"""Closed-form denoisers of known distributions: solver error seen without network error."""

from __future__ import annotations

import torch
from torch import Tensor

from difflab.denoiser import AnyDenoiser, Estimate
from difflab.gaussian import Mix, scale, unmix
from difflab.schedule import Schedule
from difflab.target import X0


class Gaussian(AnyDenoiser):
    """The optimal denoiser of N(mean, var), `mean` and `var` of one sample's shape.

    `E[x0 | x_t] = mean + alpha var / (alpha^2 var + sigma^2) (x_t - alpha mean)`.
    """

    mean: Tensor
    var: Tensor

    def __init__(self, schedule: Schedule, mean: Tensor, var: Tensor) -> None:
        super().__init__()
        self.schedule = schedule
        self.register_buffer("mean", mean)
        self.register_buffer("var", var.to(mean))
        self.shape = tuple(mean.shape)
        self.classes = 0

    def forward(self, x: Tensor, t: Tensor, label: Tensor) -> Estimate:
        """Estimate from samples `(B, *)` at times `()` or `(B,)`; labels do not matter."""
        m = self.schedule(t)
        mean, var, one = self.mean.expand_as(x), self.var.expand_as(x), torch.ones_like(x)
        gain = scale(m.alpha, var) / Mix(m.alpha**2, m.sigma**2)(var, one)
        x0 = mean + gain * (x - scale(m.alpha, mean))
        return Estimate(*unmix(x, m, x0, X0().mix(self.schedule, t)), out=x0)
