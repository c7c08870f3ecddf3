"""Annealed Langevin dynamics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from difflab.denoiser.base import Denoise
from difflab.process.gaussian import scale
from difflab.process.ranges import Count
from difflab.process.schedule import Schedule
from difflab.sampler.base import is_noise
from difflab.sampler.preconditioner import Preconditioner


def update(
    denoise: Denoise,
    x: Tensor,
    t: Tensor,
    step: float | Tensor,
    noise: Callable[[Tensor], Tensor],
    m: Preconditioner | None = None,
) -> Tensor:
    """One update of Langevin dynamics at time `t`: `x + step sigma^2 M M' score + sqrt(2 step) sigma M z`.

    M is the identity where there is none; the law that small steps leave as it is does not depend on it.
    """
    sigma, eps, z = denoise.schedule(t).sigma, denoise(x, t).eps, noise(x)
    if m is not None:
        eps, z = m(m(eps)), m(z)
    return x - scale(step * sigma, eps) + scale((2 * step) ** 0.5 * sigma, z)


def best_step(fall: Tensor, updates: int) -> Tensor:
    """The step that leaves the variance least above sigma^2 on levels whose sigma^2 falls by factors `fall: (*)`.

    Around one point, `updates` updates of step h take the variance w, in units of sigma^2, to `c (w - w') + w'` with
    `c = (1 - h)^(2 updates)` and `w' = 2 / (2 - h)`, and the next level multiplies it by `fall`. Technique 4 of Song &
    Ermon 2020 (arXiv:2006.09011) brings the first such w to 1 as nearly as it can; this is for the w that repeats,
    `w' (1 - c) / (1 - c fall)`.
    """
    h = torch.linspace(1e-3, 1, 1000, dtype=torch.float64)
    c = (1 - h) ** (2 * updates)
    after = c * fall[..., None]
    w = 2 / (2 - h) * (1 - c) / (1 - after)
    return h[torch.where(after < 1, w, torch.inf).argmin(-1)]


@dataclass(frozen=True)
class Langevin:
    """`x alpha_s / alpha_t`, then `corrections` updates `x + step sigma_s^2 score + sqrt(2 step) sigma_s z` at `s`.

    Song & Ermon 2019 (arXiv:1907.05600), Algorithm 1, where `step = epsilon / (2 sigma_L^2)`; 2020 (arXiv:2006.09011),
    Algorithm 1, where it is `epsilon / sigma_L^2`. Where alpha is not theirs, 1, it is their algorithm in `x / alpha`.
    The data end is the clean estimate: Jolicoeur-Martineau et al. 2021 (arXiv:2009.05475).

    `step_size = None` takes the `best_step` between the two levels. On many levels the variance then ends above the
    data's by the share `sqrt(log(fall) / corrections) / 2`: as many evaluations do better on more levels than in more
    corrections. A `precondition` makes it the preconditioned dynamics of Ma et al. 2022 (arXiv:2207.02196).
    """

    corrections: Count = 2
    step_size: float | None = None
    precondition: Preconditioner | None = None
    stochastic: ClassVar[bool] = True
    order: ClassVar[float] = 0.5

    def __post_init__(self) -> None:
        if self.corrections < 1:
            raise ValueError(f"sampler.corrections={self.corrections} must be at least 1")
        gain = self.precondition.gain if self.precondition else 1.0
        if not 0 < (1 if self.step_size is None else self.step_size) * gain**2 < 2:
            raise ValueError(
                f"sampler.step_size={self.step_size} must lie between 0 and 2, or be null for the best, which is at "
                f"most 1; so must its product with the square of sampler.precondition.gain, here {gain:g}"
            )

    @property
    def evaluations(self) -> int:
        """Calls of the denoiser in one step."""
        return self.corrections

    def init(self, x: Tensor) -> None:
        """No state."""

    def step(
        self, denoise: Denoise, x: Tensor, t: Tensor, s: Tensor, state: None, noise: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, None]:
        """Step `x` from time `t` to `s < t`. Raises ValueError where alpha = 0, from where no scale leads on."""
        m_t, m_s = denoise.schedule(t), denoise.schedule(s)
        if m_s.sigma == 0:
            return denoise(x, t).x0, state
        if is_noise(m_t):
            raise ValueError(
                f"annealed Langevin dynamics cannot start from alpha=0 ({denoise.schedule} at t={t:g}): choose "
                f"grid=log_snr or sampler=predictor_corrector, or train with schedule.t_max=0.999"
            )
        ratio, step = denoise.schedule.at(self.descent, t, s)
        x = scale(ratio, x)
        for _ in range(self.corrections):
            x = update(denoise, x, s, step, noise, self.precondition)
        return x, state

    def descent(self, schedule: Schedule, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """`alpha_s / alpha_t`, and the step of the updates at `s`."""
        m_t, m_s = schedule(t), schedule(s)
        fall = (m_s.log_snr - m_t.log_snr).exp()
        step = best_step(fall, self.corrections) if self.step_size is None else torch.full_like(fall, self.step_size)
        return m_s.alpha / m_t.alpha, step
