"""Denoising diffusion implicit models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from difflab.denoiser.base import Denoise
from difflab.process.gaussian import Mix, bridge, scale
from difflab.process.schedule import Schedule


@dataclass(frozen=True)
class DDIM:
    """`x_s = alpha_s x0 + sqrt(sigma_s^2 - k^2) eps + k z`, with `k^2 = eta^2 Var q(x_s | x_t, x0)`.

    Song, Meng & Ermon 2021 (arXiv:2010.02502), eq. 12. eta = 0 is the probability flow by Euler's method in
    `x / alpha`, eta = 1 is DDPM's ancestral step. With a flow map, which uses `s`, a step of eta = 0 is exact at any
    length.
    """

    eta: float = 0.0
    evaluations: ClassVar[int] = 1
    order: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise ValueError(f"sampler.eta={self.eta} must lie in [0, 1]: 0 is DDIM, 1 is ancestral")

    @property
    def stochastic(self) -> bool:
        """Whether it draws noise."""
        return self.eta > 0

    def init(self, x: Tensor) -> None:
        """No state."""

    def step(
        self, denoise: Denoise, x: Tensor, t: Tensor, s: Tensor, state: None, noise: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, None]:
        """Step `x` from time `t` to `s < t`."""
        mean, k = denoise.schedule.at(self.transition, t, s)
        estimate = denoise(x, t, s)
        x = mean(estimate.x0, estimate.eps)
        return (x + scale(k, noise(x)) if k > 0 else x), state

    def transition(self, schedule: Schedule, t: Tensor, s: Tensor) -> tuple[Mix, Tensor]:
        """The mean of `x_s` as a mix of the estimates, and `k`."""
        m_t, m_s = schedule(t), schedule(s)
        k = self.eta * bridge(m_s, m_t).lower.clamp(min=0).sqrt()
        return Mix(m_s.alpha, (m_s.sigma**2 - k**2).sqrt()), k
