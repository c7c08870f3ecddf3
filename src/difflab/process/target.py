"""What the network predicts: each target is a mix of clean sample and noise.

With `x_t = m(x0, eps)` and `y = n(x0, eps)`, the two determine `(x0, eps)` wherever `det(m, n)` is not zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from difflab.process.gaussian import Mix, bridge
from difflab.process.ranges import Positive
from difflab.process.schedule import Schedule


class Target:
    """Base class of targets; most implement `mix` only."""

    def mix(self, schedule: Schedule, t: Tensor) -> Mix:
        """The target as a mix of `(x0, eps)` at time `t`."""
        raise NotImplementedError

    def c_in(self, m: Mix) -> Tensor:
        """The factor that `x_t` enters the network with, which then has unit variance for data of unit variance."""
        return (m.alpha**2 + m.sigma**2).rsqrt()

    def c_noise(self, schedule: Schedule, t: Tensor) -> Tensor:
        """The number that the network's time embedding sees: time in thousandths of the axis."""
        return 1000 * schedule.fraction(t)


@dataclass(frozen=True)
class X0(Target):
    """The clean sample."""

    @override
    def mix(self, schedule: Schedule, t: Tensor) -> Mix:
        one = torch.ones_like(schedule(t).alpha)
        return Mix(one, 0 * one)


@dataclass(frozen=True)
class Eps(Target):
    """The noise. Ho et al. 2020 (arXiv:2006.11239), eq. 14."""

    @override
    def mix(self, schedule: Schedule, t: Tensor) -> Mix:
        one = torch.ones_like(schedule(t).alpha)
        return Mix(0 * one, one)


@dataclass(frozen=True)
class V(Target):
    """`v = alpha eps - sigma x0`. Salimans & Ho 2022 (arXiv:2202.00512), section 4. Not the flow's velocity."""

    @override
    def mix(self, schedule: Schedule, t: Tensor) -> Mix:
        m = schedule(t)
        return Mix(-m.sigma, m.alpha)


@dataclass(frozen=True)
class Velocity(Target):
    """`dx_t/dt = alpha' x0 + sigma' eps`, with time running towards noise and the axis of length 1.

    Lipman et al. 2023 (arXiv:2210.02747), eq. 15.
    """

    @override
    def mix(self, schedule: Schedule, t: Tensor) -> Mix:
        rate, length = schedule.rate(t), 1 / schedule.fraction(torch.ones_like(t))
        return Mix(rate.alpha * length, rate.sigma * length)


@dataclass(frozen=True)
class Score(Target):
    """`-eps / sigma`, whose mean given x_t is the score. Vincent 2011; Song & Ermon 2019 (arXiv:1907.05600), eq. 5."""

    @override
    def mix(self, schedule: Schedule, t: Tensor) -> Mix:
        m = schedule(t)
        return Mix(torch.zeros_like(m.alpha), -1 / m.sigma)


@dataclass(frozen=True)
class PosteriorMean(Target):
    """The mean of q(x_s | x_t, x0) one step earlier. Ho et al. 2020 (arXiv:2006.11239), eq. 7."""

    @override
    def mix(self, schedule: Schedule, t: Tensor) -> Mix:
        s = (t - schedule.step).clamp(min=0)
        return bridge(schedule(s), schedule(t)).mean


@dataclass(frozen=True)
class Preconditioned(Target):
    """`F = (x0 - c_skip x_t) / c_out`, the preconditioned output, of unit variance for data of std `sigma_data`.

    `c_in = 1 / sqrt(alpha^2 sd^2 + sigma^2)`, `c_skip = alpha sd^2 c_in^2`, `c_out = sigma sd c_in`; the embedding
    sees `log(sigma / alpha) / 4`. Karras et al. 2022 (arXiv:2206.00364), table 1, for any schedule.
    """

    sigma_data: Positive = 0.5

    @override
    def mix(self, schedule: Schedule, t: Tensor) -> Mix:
        m = schedule(t)
        c_in = self.c_in(m)
        c_skip, c_out = m.alpha * self.sigma_data**2 * c_in**2, m.sigma * self.sigma_data * c_in
        return Mix((1 - c_skip * m.alpha) / c_out, -c_skip * m.sigma / c_out)

    @override
    def c_in(self, m: Mix) -> Tensor:
        return (m.alpha**2 * self.sigma_data**2 + m.sigma**2).rsqrt()

    @override
    def c_noise(self, schedule: Schedule, t: Tensor) -> Tensor:
        return -schedule.log_snr(t) / 8
