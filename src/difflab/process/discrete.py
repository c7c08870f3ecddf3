"""Discrete noise schedules: noise levels at the integers 1..T, where 0 is clean data.

Networks are trained and chains are sampled at the integers; between them the levels are interpolated smoothly, so that
an ODE can be followed through a table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from typing_extensions import override

from difflab.process.gaussian import Mix
from difflab.process.ranges import Count, Part, Positive
from difflab.process.schedule import Schedule, derivative


@dataclass(frozen=True)
class DiscreteSchedule(Schedule):
    """A discrete chain of `T` steps; time counts them.

    Between the integers the log-SNR is a cubic Hermite spline with centred differences as slopes, limited where they
    would make it rise: Fritsch & Carlson 1980 (doi:10.1137/0717021). Below 1, `sigma^2 / alpha^2` is linear in time.
    Raises ValueError for log-SNRs that do not fall.
    """

    T: Count = 1000
    step = 1.0
    discrete = True

    def __post_init__(self) -> None:
        if self.T < 2 or not (self.log_snrs.diff() < 0).all() or not self.log_snrs.isfinite().all():
            raise ValueError(f"{self}: a table needs T >= 2 and noise that grows with every step")

    @property
    def log_snrs(self) -> Tensor:
        """The log-SNR at 1..T, shape `(T,)`."""
        raise NotImplementedError

    def level(self, log_snr: Tensor) -> Mix:
        """The mix of a log-SNR; here that of variance 1."""
        return Mix(log_snr.sigmoid().sqrt(), (-log_snr).sigmoid().sqrt())

    @cached_property
    def slopes(self) -> Tensor:
        """The derivative of the log-SNR at 1..T, shape `(T,)`."""
        steps = self.log_snrs.diff()
        flatter = torch.maximum(steps[1:], steps[:-1])
        inner = torch.maximum((steps[1:] + steps[:-1]) / 2, 3 * flatter)
        return torch.cat([steps[:1], inner, steps[-1:]])

    @cached_property
    def pieces(self) -> Tensor:
        """From each integer to the next: the log-SNR at both, and their slopes less that of the chord, (T - 1, 4)."""
        start, end, chord = self.log_snrs[:-1], self.log_snrs[1:], self.log_snrs.diff()
        return torch.stack([start, end, self.slopes[:-1] - chord, self.slopes[1:] - chord], 1)

    def piece(self, t: Tensor) -> tuple[Tensor, ...]:
        """How far `t` is on its piece of the spline, and the four numbers of the piece; the last one has no end."""
        k = t.detach().clamp(1, self.T - 1).long()
        return t - k, *self.pieces[k - 1].unbind(-1)

    @override
    def log_snr(self, t: Tensor) -> Tensor:
        t = t.to("cpu", torch.float64)
        u, start, end, low, high = self.piece(t)
        v = 1 - u
        spline = v * start + u * end + u * v * (v * low - u * high)
        return torch.where(t < 1, self.log_snrs[0] - t.log(), spline)

    @override
    def rate(self, t: Tensor) -> Mix:
        """The derivatives `(alpha', sigma')` with respect to time: those of `level` times that of the log-SNR."""
        t = t.to("cpu", torch.float64)
        u, start, end, low, high = self.piece(t)
        v = 1 - u
        spline = end - start + (v - u) * (v * low - u * high) - u * v * (low + high)
        slope = torch.where(t < 1, -1 / t, spline)
        alpha, sigma = derivative(lambda log_snr: tuple(self.level(log_snr)), self.log_snr(t))
        return Mix(slope * alpha, slope * sigma)

    @override
    def __call__(self, t: Tensor) -> Mix:
        return self.level(self.log_snr(t))

    @property
    @override
    def t_min(self) -> float:
        """The first step, 1."""
        return 1.0

    @property
    @override
    def t_max(self) -> float:
        """The last step, T."""
        return float(self.T)

    @override
    def time(self, fraction: Tensor) -> Tensor:
        """The step that a uniform `fraction` in [0, 1) stands for: uniform on 1..T."""
        return (fraction * self.T).floor() + 1

    @override
    def fraction(self, t: Tensor) -> Tensor:
        """`t / T`."""
        return t / self.T

    @override
    def time_at(self, log_snr: Tensor) -> Tensor:
        """The step whose log-SNR is nearest."""
        return 1.0 + (log_snr[..., None] - self.log_snrs).abs().argmin(-1).to(torch.float64)

    @override
    def snap(self, times: Tensor) -> Tensor:
        """Strictly falling integers nearest to the falling `times`; the last one is 0.

        Raises ValueError if there are more steps than the table has.
        """
        steps = len(times) - 1
        if steps > self.T:
            raise ValueError(f"{steps} sampling steps asked of a table of {self.T}: at most {self.T} are possible")
        rank = torch.arange(steps, -1, -1, dtype=torch.float64)
        rising = (times.round() - rank).flip(0).cummax(0).values.flip(0) + rank  # distinct from the data end up
        return torch.minimum(rising, self.T - steps + rank)  # and not beyond T


@dataclass(frozen=True)
class GeometricSigmas(DiscreteSchedule):
    """`alpha = 1` and sigma geometric from `sigma_min` at t = 1 to `sigma_max` at t = T.

    Song & Ermon 2019 (arXiv:1907.05600), section 4.2, whose levels count the other way; 2020 (arXiv:2006.09011),
    techniques 1-2, on choosing them.
    """

    T: Count = 50
    sigma_min: float = 0.01
    sigma_max: Positive = 50.0

    def __post_init__(self) -> None:
        if not 0 < self.sigma_min < self.sigma_max:
            raise ValueError(f"{self}: sigma_min must lie between 0 and sigma_max")
        super().__post_init__()

    @cached_property
    @override
    def log_snrs(self) -> Tensor:
        ends = math.log(self.sigma_min), math.log(self.sigma_max)
        return -2 * torch.linspace(*ends, self.T, dtype=torch.float64)

    @override
    def level(self, log_snr: Tensor) -> Mix:
        return Mix(torch.ones_like(log_snr), (-0.5 * log_snr).exp())


@dataclass(frozen=True)
class Betas(DiscreteSchedule):
    """`alpha_t^2 = (1 - beta_1) ... (1 - beta_t)`, `sigma^2 = 1 - alpha^2`: `beta_t` leads from t - 1 to t.

    Ho et al. 2020 (arXiv:2006.11239), eq. 4. Raises ValueError for betas outside (0, 1).
    """

    def __post_init__(self) -> None:
        betas = self.betas()
        if self.T < 2 or not (betas > 0).all() or not (betas < 1).all():
            raise ValueError(f"{self}: a table needs T >= 2 and every beta in (0, 1), not up to {betas.max():g}")
        super().__post_init__()

    def betas(self) -> Tensor:
        """`beta_1 .. beta_T`, shape `(T,)`."""
        raise NotImplementedError

    @cached_property
    def alpha_bar(self) -> Tensor:
        """`alpha^2` at 0..T, shape `(T + 1,)`."""
        return torch.cat([torch.ones(1, dtype=torch.float64), torch.cumprod(1 - self.betas(), 0)])

    @cached_property
    @override
    def log_snrs(self) -> Tensor:
        return torch.logit(self.alpha_bar[1:])


@dataclass(frozen=True)
class LinearBetas(Betas):
    """`beta_t` linear from `beta_min` to `beta_max`, both for T = 1000 and times 1000 / T else.

    Ho et al. 2020 (arXiv:2006.11239), section 4; the scaling is Nichol & Dhariwal 2021's (arXiv:2102.09672).
    """

    beta_min: Part = 1e-4
    beta_max: Part = 0.02

    @override
    def betas(self) -> Tensor:
        return torch.linspace(self.beta_min, self.beta_max, self.T, dtype=torch.float64) * (1000 / self.T)


@dataclass(frozen=True)
class QuadraticBetas(LinearBetas):
    """`sqrt(beta_t)` linear: "quadratic" in Song, Meng & Ermon 2021's code, "scaled linear" in latent diffusion."""

    @override
    def betas(self) -> Tensor:
        roots = torch.linspace(self.beta_min**0.5, self.beta_max**0.5, self.T, dtype=torch.float64)
        return roots**2 * (1000 / self.T)


@dataclass(frozen=True)
class SigmoidBetas(LinearBetas):
    """`beta_t = beta_min + (beta_max - beta_min) sigmoid(u)`, u from -6 to 6. Xu et al. 2022 (arXiv:2203.02923)."""

    @override
    def betas(self) -> Tensor:
        s = torch.linspace(-6, 6, self.T, dtype=torch.float64).sigmoid()
        return (self.beta_min + (self.beta_max - self.beta_min) * s) * (1000 / self.T)


@dataclass(frozen=True)
class CosineBetas(Betas):
    """`alpha_t^2 = f(t) / f(0)`, `f(t) = cos^2(pi/2 (t/T + offset) / (1 + offset))`, with beta_t at most `beta_max`.

    Nichol & Dhariwal 2021 (arXiv:2102.09672), eq. 17.
    """

    offset: float = 0.008
    beta_max: float = 0.999

    @override
    def betas(self) -> Tensor:
        u = torch.arange(self.T + 1, dtype=torch.float64) / self.T
        f = (0.5 * math.pi * (u + self.offset) / (1 + self.offset)).cos() ** 2
        return (1 - f[1:] / f[:-1]).clamp(max=self.beta_max)
