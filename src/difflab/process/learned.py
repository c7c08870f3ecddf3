"""The noise schedule that is learned with the network."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from typing_extensions import override

from difflab.process.gaussian import Mix
from difflab.process.ranges import Chance, Count, Real, Share
from difflab.process.schedule import Schedule


class LearnedSchedule(nn.Module, Schedule):
    """Variance preserving, the log-SNR falling from `log_snr_max` to `log_snr_min` on a monotone network's path.

    With `hidden` units, almost linear at first, and clean data at t = 0::

        log_snr = log_snr_max - (log_snr_max - log_snr_min) f(t) / f(1)
        f(t) = t + mean_k w_k (sigmoid(a_k t + b_k) - sigmoid(b_k)),    w, a >= 0

    Kingma et al. 2021 (arXiv:2107.00630), section 4 and appendix H, with 1024 units. Raises ValueError unless the
    log-SNR falls.
    """

    t_min: Share = 1e-5
    t_max: Chance = 1.0

    def __init__(
        self,
        log_snr_max: Real = 13.3,
        log_snr_min: Real = -5.0,
        hidden: Count = 64,
        t_min: float = 1e-5,
        t_max: float = 1.0,
    ) -> None:
        super().__init__()
        if not log_snr_max > log_snr_min or hidden < 1:
            given = f"{log_snr_max=}, {log_snr_min=}, {hidden=}"
            raise ValueError(f"a learned schedule needs log_snr_max > log_snr_min and hidden >= 1, not {given}")
        self.log_snr_max, self.log_snr_min = log_snr_max, log_snr_min
        self.t_min, self.t_max = t_min, t_max
        steepness = 10.0  # of units that are spread over the axis and overlap
        self.weight = nn.Parameter(torch.full((hidden,), 0.1))  # squared where used, like the slope: never negative
        self.slope = nn.Parameter(torch.full((hidden,), math.sqrt(steepness)))
        self.offset = nn.Parameter(-steepness * (torch.arange(hidden) + 0.5) / hidden)
        self.factors: list[Tensor] = []

    @override
    def extra_repr(self) -> str:
        return f"log_snr_max={self.log_snr_max:g}, log_snr_min={self.log_snr_min:g}, hidden={len(self.weight)}"

    def square(self, loss: Tensor) -> None:
        """Have the schedule descend `mean(loss^2)` and the rest of the model `mean(loss)`, in one backward pass.

        `loss` is of shape `(B,)`, computed from times `(B,)` since the last call of this method, sample by sample. As
        the bound's mean does not depend on the path, its square measures its variance: Kingma et al. 2021, appendix H.
        """
        self.factors.append(2 * loss.detach())
        self.factors = []  # what is computed from here on belongs to the next loss

    def squared(self, y: Tensor) -> Tensor:
        """Register a hook that scales the gradient of `y` by 2 loss, if `square` is called before the backward pass."""
        factors = self.factors

        def by_chain_rule(grad: Tensor) -> Tensor:
            return grad * factors[0].to(grad) if factors and factors[0].shape == grad.shape else grad

        if y.requires_grad:
            y.register_hook(by_chain_rule)  # type: ignore[no-untyped-call]  # torch leaves it so
        return y

    def path(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """`f(t) / f(1)` and its derivative, in float64 on the device of `t`."""
        weight, slope, offset = (p.to(t.device, torch.float64) for p in (self.weight, self.slope, self.offset))
        weight, slope, t = weight**2 / len(weight), slope**2, t.double()
        bend, start = (slope * t[..., None] + offset).sigmoid(), offset.sigmoid()
        whole = 1 + (weight * ((slope + offset).sigmoid() - start)).sum()
        f = t + (weight * (bend - start)).sum(-1)
        rate = 1 + (weight * slope * bend * (1 - bend)).sum(-1)
        return self.squared(f / whole), self.squared(rate / whole)

    @override
    def log_snr(self, t: Tensor) -> Tensor:
        falling = self.log_snr_max - (self.log_snr_max - self.log_snr_min) * self.fraction(t)
        return torch.where(t > 0, falling, math.inf)

    @override
    def __call__(self, t: Tensor) -> Mix:
        log_snr = self.log_snr(t)
        return Mix(log_snr.sigmoid().sqrt(), (-log_snr).sigmoid().sqrt())

    @override
    def rate(self, t: Tensor) -> Mix:
        """`alpha' = log_snr' alpha sigma^2 / 2` and `sigma' = -log_snr' sigma alpha^2 / 2`."""
        (alpha, sigma), slope = self(t), (self.log_snr_min - self.log_snr_max) * self.path(t)[1]
        return Mix(0.5 * slope * alpha * sigma**2, -0.5 * slope * sigma * alpha**2)

    @override
    def fraction(self, t: Tensor) -> Tensor:
        """How far the log-SNR at `t` has fallen: so the network's time code follows the noise as the path moves."""
        return self.path(t)[0]

    @override
    def time_at(self, log_snr: Tensor) -> Tensor:
        with torch.no_grad():
            return super().time_at(log_snr)
