"""The Euler-Maruyama method on the family of equations between the probability flow and the reverse SDE."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from difflab.denoiser.base import Denoise
from difflab.process.gaussian import Mix, scale
from difflab.process.schedule import Schedule
from difflab.sampler.base import is_noise


@dataclass(frozen=True)
class EulerMaruyama:
    """`dx = [f x - (1 + noise^2) / 2 g^2 score] dt + noise g dw`, whose marginals are the same for every `noise`.

    `noise = 0` is Euler's method on the probability flow, `noise = 1` the reverse SDE. In `(x0, eps)` the drift is
    `alpha' x0 + (sigma' + noise^2 g^2 / (2 sigma)) eps`, in the schedule's own time; the data end is the clean
    estimate. Song et al. 2021 (arXiv:2011.13456), eqs. 6 and 13; between the two, Karras et al. 2022
    (arXiv:2206.00364), eq. 6, and Ma et al. 2024 (arXiv:2401.08740).
    """

    noise: float = 1.0
    evaluations: ClassVar[int] = 1
    order: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.noise < 0:
            raise ValueError(f"sampler.noise={self.noise} must be at least 0: 0 is the flow, 1 the reverse SDE")

    @property
    def stochastic(self) -> bool:
        """Whether it draws noise."""
        return self.noise > 0

    def init(self, x: Tensor) -> None:
        """No state."""

    def step(
        self, denoise: Denoise, x: Tensor, t: Tensor, s: Tensor, state: None, noise: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, None]:
        """Step `x` from time `t` to `s < t`. Raises ValueError where alpha = 0: there f is infinite."""
        m_t, rate, estimate = denoise.schedule(t), denoise.schedule.rate(t), denoise(x, t)
        if denoise.schedule(s).sigma == 0:
            return estimate.x0, state
        if self.noise == 0:
            return x + scale(s - t, rate(estimate.x0, estimate.eps)), state
        if is_noise(m_t):
            raise ValueError(
                f"the reverse SDE is infinite on {denoise.schedule} at t={t:g}, where alpha=0: choose "
                f"sampler=ancestral, the same equation in exact steps, or grid=log_snr, or train with "
                f"schedule.t_max=0.999"
            )
        drift, kick = denoise.schedule.at(self.drift, t, s)
        return x + scale(s - t, drift(estimate.x0, estimate.eps)) + scale(kick, noise(x)), state

    def drift(self, schedule: Schedule, t: Tensor, s: Tensor) -> tuple[Mix, Tensor]:
        """The drift as a mix of the estimates, and the size of the noise over the step."""
        m_t, rate = schedule(t), schedule.rate(t)
        growth = rate.sigma - rate.alpha * m_t.sigma / m_t.alpha  # g^2 / (2 sigma)
        kick = self.noise * (2 * m_t.sigma * growth * (t - s)).sqrt()
        return Mix(rate.alpha, rate.sigma + self.noise**2 * growth), kick
