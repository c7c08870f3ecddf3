"""Noise schedules: from a time to the mix `x_t = alpha x0 + sigma eps`.

`t = 0` is data and larger is noisier, everywhere. Continuous schedules live on [0, 1]; a table lives on the integers
0..T, where 0 is clean data. A schedule is a value: equal parameters, equal schedule. Times are float64 on the CPU, of
any shape; so are all the quantities here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from typing_extensions import TypeVarTuple, override

from difflab.process.gaussian import Bridge, Mix, bridge
from difflab.process.ranges import Chance, Positive, Share, Size

Y = TypeVar("Y")  # a tensor, or a tuple of tensors
Times = TypeVarTuple("Times")


def derivative(f: Callable[[Tensor], Y], t: Tensor) -> Y:
    """`df/dt` of a function that maps each time by itself, in forward mode.

    Also in inference mode, in which torch before 2.13 returns zeros and does not warn.
    """
    if torch.is_inference_mode_enabled():
        with torch.inference_mode(False), torch.no_grad():
            return derivative(f, t)
    rate: Y = torch.func.jvp(f, (t,), (torch.ones_like(t),))[1]
    return rate


class Schedule:
    """Base class of noise schedules; a continuous one implements `__call__`."""

    step: float = 1e-3  # one step of the finest chain, where a step must be spoken of
    discrete: bool = False  # whether networks are trained at multiples of `step` alone

    @property
    def t_min(self) -> float:
        """The least noisy time that is trained on."""
        return 1e-5

    @property
    def t_max(self) -> float:
        """The noisiest time."""
        return 1.0

    def __call__(self, t: Tensor) -> Mix:
        """The mix at time `t`."""
        raise NotImplementedError

    def at(self, f: Callable[[Schedule, *Times], Y], *times: *Times) -> Y:
        """`f(schedule, *times)`, coefficients at times `()` or `(B,)`, each a function of its own times alone.

        A sampling loop computes them once for its whole grid: see `Tabulated`. Arguments that are no times may follow.
        """
        return f(self, *times)

    def log_snr(self, t: Tensor) -> Tensor:
        """`log(alpha^2 / sigma^2)`, strictly falling in `t`."""
        return self(t).log_snr

    def rate(self, t: Tensor) -> Mix:
        """The derivatives `(alpha', sigma')` with respect to time.

        Those of `__call__`; a schedule that is stepped through often states them, which is faster.
        """
        return Mix(*derivative(lambda u: tuple(self(u)), t))

    def drift(self, t: Tensor) -> Tensor:
        """`f` of the forward process `dx = f x dt + g dw`: `alpha' / alpha`. Kingma et al. 2021 (arXiv:2107.00630)."""
        return self.rate(t).alpha / self(t).alpha

    def diffusion(self, t: Tensor) -> Tensor:
        """`g` of the forward process `dx = f x dt + g dw`: `g^2 = 2 sigma (sigma' - f sigma)`."""
        return (2 * self(t).sigma * (self.rate(t).sigma - self.drift(t) * self(t).sigma)).sqrt()

    def bridge(self, s: Tensor, t: Tensor) -> Bridge:
        """The posterior q(x_s | x_t, x0), for `s < t`, whose log-variances are all finite.

        At the data end, where the lower variance is 0, it is that of the same stride one level up: the clipping of
        Ho et al. 2020's code (arXiv:2006.11239).
        """
        posterior = bridge(self(s), self(t))
        above = bridge(self(torch.full_like(s, self.t_min)), self((self.t_min + t - s).clamp(max=self.t_max)))
        return posterior._replace(lower=torch.where(s > 0, posterior.lower, above.lower))

    def time(self, fraction: Tensor) -> Tensor:
        """The training time that a uniform `fraction` in [0, 1) stands for: uniform on [t_min, t_max]."""
        return self.t_min + (self.t_max - self.t_min) * fraction

    def fraction(self, t: Tensor) -> Tensor:
        """How far `t` lies on the way from data (0) to the noisiest time of the whole axis (1)."""
        return t

    def time_at(self, log_snr: Tensor) -> Tensor:
        """The time of a log-SNR, within [t_min, t_max]: the inverse of `log_snr`, by bisection to rounding error."""
        low, high = torch.full_like(log_snr, self.t_min), torch.full_like(log_snr, self.t_max)
        for _ in range(64):
            middle = (low + high) / 2
            noisier = self.log_snr(middle) < log_snr
            low, high = torch.where(noisier, low, middle), torch.where(noisier, middle, high)
        return (low + high) / 2

    def snap(self, times: Tensor) -> Tensor:
        """The falling `times` of a sampling grid as the nearest strictly falling times that the schedule has.

        Raises ValueError if there are more steps than it has room for.
        """
        if not (times.diff() < 0).all():
            raise ValueError(f"{len(times) - 1} sampling steps do not all differ on this grid: ask for fewer")
        return times


@dataclass(frozen=True)
class VP(Schedule):
    """Variance preserving: `alpha = exp(-t^2 (b1 - b0) / 4 - t b0 / 2)`, `sigma^2 = 1 - alpha^2`.

    Song et al. 2021 (arXiv:2011.13456), eq. 33.
    """

    beta_min: Size = 0.1
    beta_max: Positive = 20.0
    t_min: Share = 1e-5
    t_max: Chance = 1.0

    @override
    def __call__(self, t: Tensor) -> Mix:
        log_alpha = -0.25 * t**2 * (self.beta_max - self.beta_min) - 0.5 * t * self.beta_min
        return Mix(log_alpha.exp(), (-torch.expm1(2 * log_alpha)).sqrt())

    @override
    def rate(self, t: Tensor) -> Mix:
        alpha, sigma = VP.__call__(self, t)
        alpha_rate = -0.5 * (t * (self.beta_max - self.beta_min) + self.beta_min) * alpha
        return Mix(alpha_rate, -alpha * alpha_rate / sigma)


@dataclass(frozen=True)
class SubVP(VP):
    """Sub-variance-preserving: alpha of VP, `sigma = 1 - alpha^2`. Song et al. 2021 (arXiv:2011.13456), eq. 29."""

    @override
    def __call__(self, t: Tensor) -> Mix:
        alpha, sigma = super().__call__(t)
        return Mix(alpha, sigma**2)

    @override
    def rate(self, t: Tensor) -> Mix:
        alpha_rate = super().rate(t).alpha
        return Mix(alpha_rate, -2 * self(t).alpha * alpha_rate)


@dataclass(frozen=True)
class VE(Schedule):
    """Variance exploding: `alpha = 1`, `sigma = sigma_min (sigma_max / sigma_min)^t`, and clean data at t = 0.

    Song et al. 2021 (arXiv:2011.13456), eqs. 30-31.
    """

    sigma_min: Positive = 0.01
    sigma_max: Positive = 50.0
    t_min: Share = 1e-5
    t_max: Chance = 1.0

    @override
    def __call__(self, t: Tensor) -> Mix:
        sigma = self.sigma_min * (self.sigma_max / self.sigma_min) ** t
        return Mix(torch.ones_like(t), torch.where(t > 0, sigma, 0.0))

    @override
    def rate(self, t: Tensor) -> Mix:
        return Mix(torch.zeros_like(t), math.log(self.sigma_max / self.sigma_min) * self(t).sigma)


@dataclass(frozen=True)
class EDM(Schedule):
    """Noise level as time: `alpha = 1`, `sigma = sigma_max t`, trained from `sigma_min` on.

    Karras et al. 2022 (arXiv:2206.00364), table 1, with time measured in units of sigma_max.
    """

    sigma_min: Positive = 0.002
    sigma_max: Positive = 80.0

    @property
    @override
    def t_min(self) -> float:
        """The time of `sigma_min`."""
        return self.sigma_min / self.sigma_max

    @override
    def __call__(self, t: Tensor) -> Mix:
        return Mix(torch.ones_like(t), self.sigma_max * t)

    @override
    def rate(self, t: Tensor) -> Mix:
        return Mix(torch.zeros_like(t), torch.full_like(t, self.sigma_max))


@dataclass(frozen=True)
class Linear(Schedule):
    """The straight path: `alpha = 1 - t`, `sigma = t + (1 - t) sigma_min`, and clean data at t = 0.

    Rectified flow, Liu et al. 2023 (arXiv:2209.03003), eq. 1; with `sigma_min > 0` the optimal-transport path of Lipman
    et al. 2023 (arXiv:2210.02747), eq. 20.
    """

    sigma_min: Share = 0.0
    t_min: Share = 1e-5
    t_max: Chance = 1.0

    @override
    def __call__(self, t: Tensor) -> Mix:
        return Mix(1 - t, torch.where(t > 0, t + (1 - t) * self.sigma_min, 0.0))

    @override
    def rate(self, t: Tensor) -> Mix:
        return Mix(torch.full_like(t, -1.0), torch.where(t > 0, 1 - self.sigma_min, torch.zeros_like(t)))


@dataclass(frozen=True)
class Trigonometric(Schedule):
    """The arc `alpha = cos(pi t / 2)`, `sigma = sin(pi t / 2)`. Salimans & Ho 2022 (arXiv:2202.00512), section 4."""

    t_min: Share = 1e-5
    t_max: Chance = 1.0

    @override
    def __call__(self, t: Tensor) -> Mix:
        return Mix((0.5 * math.pi * t).cos(), (0.5 * math.pi * t).sin())

    @override
    def rate(self, t: Tensor) -> Mix:
        alpha, sigma = self(t)
        return Mix(-0.5 * math.pi * sigma, 0.5 * math.pi * alpha)
