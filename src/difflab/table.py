"""Discrete noise schedules: float64 tables over the integers 0..T, where 0 is clean data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from typing_extensions import override

from difflab.gaussian import Mix
from difflab.schedule import Schedule


@dataclass(frozen=True)
class Table(Schedule):
    """A discrete chain of `T` steps: `alpha_t^2 = (1 - beta_1) ... (1 - beta_t)`, `sigma^2 = 1 - alpha^2`.

    Ho et al. 2020 (arXiv:2006.11239), eq. 4. Time counts the steps, so `beta_t` leads from t - 1 to t. Between the
    integers the log-SNR is taken as linear: that defines `rate`, per step.
    """

    T: int = 1000
    tick = 1.0

    def __post_init__(self) -> None:
        betas = self.betas()
        if self.T < 2 or not (betas > 0).all() or not (betas < 1).all():
            raise ValueError(f"{self}: a table needs T >= 2 and every beta in (0, 1), not up to {betas.max():g}")

    def betas(self) -> Tensor:
        """`beta_1 .. beta_T`, shape `(T,)`."""
        raise NotImplementedError

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

    @cached_property
    def alpha_bar(self) -> Tensor:
        """`alpha^2` at 0..T, shape `(T + 1,)`."""
        return torch.cat([torch.ones(1, dtype=torch.float64), torch.cumprod(1 - self.betas(), 0)])

    @cached_property
    def slope(self) -> Tensor:
        """The derivative of the log-SNR at 0..T by centred differences, one-sided at 1 and T; shape `(T + 1,)`."""
        log_snr = self(torch.arange(1, self.T + 1)).log_snr
        return torch.cat([torch.full((1,), -math.inf, dtype=torch.float64), *torch.gradient(log_snr)])

    def at(self, table: Tensor, t: Tensor) -> Tensor:
        """The entries of a table at the integers nearest to `t`."""
        return table[t.round().to("cpu", torch.long)]

    @override
    def __call__(self, t: Tensor) -> Mix:
        alpha_bar = self.at(self.alpha_bar, t)
        return Mix(alpha_bar.sqrt(), (1 - alpha_bar).sqrt())

    @override
    def rate(self, t: Tensor) -> Mix:
        """`alpha' = slope alpha sigma^2 / 2` and `sigma' = -slope sigma alpha^2 / 2`, as alpha^2 + sigma^2 = 1."""
        (alpha, sigma), slope = self(t), self.at(self.slope, t)
        return Mix(0.5 * slope * alpha * sigma**2, -0.5 * slope * sigma * alpha**2)

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
        ladder = self(torch.arange(1, self.T + 1)).log_snr
        return 1.0 + (log_snr[..., None] - ladder).abs().argmin(-1).to(torch.float64)

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
class LinearTable(Table):
    """`beta_t` linear from `beta_min` to `beta_max`, both for T = 1000 and times 1000 / T else.

    Ho et al. 2020 (arXiv:2006.11239), section 4; the scaling is Nichol & Dhariwal 2021's (arXiv:2102.09672).
    """

    beta_min: float = 1e-4
    beta_max: float = 0.02

    @override
    def betas(self) -> Tensor:
        return torch.linspace(self.beta_min, self.beta_max, self.T, dtype=torch.float64) * (1000 / self.T)


@dataclass(frozen=True)
class QuadraticTable(LinearTable):
    """`sqrt(beta_t)` linear: "quadratic" in Song, Meng & Ermon 2021's code, "scaled linear" in latent diffusion."""

    @override
    def betas(self) -> Tensor:
        roots = torch.linspace(self.beta_min**0.5, self.beta_max**0.5, self.T, dtype=torch.float64)
        return roots**2 * (1000 / self.T)


@dataclass(frozen=True)
class SigmoidTable(LinearTable):
    """`beta_t = beta_min + (beta_max - beta_min) sigmoid(u)`, u from -6 to 6. Xu et al. 2022 (arXiv:2203.02923)."""

    @override
    def betas(self) -> Tensor:
        s = torch.linspace(-6, 6, self.T, dtype=torch.float64).sigmoid()
        return (self.beta_min + (self.beta_max - self.beta_min) * s) * (1000 / self.T)


@dataclass(frozen=True)
class CosineTable(Table):
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
