"""The stochastic sampler of EDM."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from difflab.denoiser.base import Denoise
from difflab.process.gaussian import scale
from difflab.process.ranges import Bound, Size
from difflab.process.schedule import Schedule

FAR = 1e2  # sigma / alpha beyond which a step counts in alpha / sigma: eps is not extrapolated so far


@dataclass(frozen=True)
class EDM:
    """Heun's method for `y = x / alpha` against `r = sigma / alpha`, where `dy / dr = eps`, after a rise in noise.

    Where `sigma_min <= r <= sigma_max`, noise of standard deviation `noise` is added first, so that r grows to
    `(1 + churn) r`, or to what the schedule has next to it: `churn` is `S_churn / N` for N steps, at most
    `sqrt(2) - 1`, the others are `S_tmin`, `S_tmax` and `S_noise`. `churn = 0` draws no noise. Karras et al. 2022
    (arXiv:2206.00364), Algorithm 2. Where r has no bound, as on the straight path at t = 1, beyond r = 100, the
    same rule is applied to `x / sigma` against `1 / r`, without a rise.
    """

    churn: float = 0.0
    sigma_min: Size = 0.0
    sigma_max: Bound = 1e3
    noise: Size = 1.0
    evaluations: ClassVar[int] = 2

    def __post_init__(self) -> None:
        if not 0 <= self.churn <= math.sqrt(2) - 1 + 1e-4:
            raise ValueError(f"sampler.churn={self.churn} is S_churn / N, cut at sqrt(2) - 1: it lies in [0, 0.4142]")

    @property
    def stochastic(self) -> bool:
        """Whether it draws noise."""
        return self.churn > 0

    @property
    def order(self) -> int:
        """Heun's; 0 with churn, as a given rise does not shrink with the steps."""
        return 0 if self.churn > 0 else 2

    def init(self, x: Tensor) -> None:
        """No state."""

    def rise(
        self, schedule: Schedule, x: Tensor, t: Tensor, noise: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """`x` with fresh noise on it, and the time that it is thereby at."""
        m = schedule(t)
        level = m.sigma / m.alpha
        if not (self.churn > 0 and self.sigma_min <= level <= min(self.sigma_max, FAR)):
            return x, t
        t = schedule.time_at(-2 * ((1 + self.churn) * level).log())
        raised = schedule(t)
        kick = ((raised.sigma / raised.alpha) ** 2 - level**2).clamp(min=0).sqrt()
        return scale(raised.alpha / m.alpha, x) + scale(self.noise * raised.alpha * kick, noise(x)), t

    def step(
        self, denoise: Denoise, x: Tensor, t: Tensor, s: Tensor, state: None, noise: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, None]:
        """Step `x` from time `t` to `s < t`."""
        x, t = self.rise(denoise.schedule, x, t, noise)
        m_t, m_s, estimate = denoise.schedule(t), denoise.schedule(s), denoise(x, t)
        if m_s.sigma == 0:
            return estimate.x0, state
        x_s = m_s(estimate.x0, estimate.eps)
        estimate_s = denoise(x_s, s)
        if m_t.sigma > FAR * m_t.alpha:
            return x_s + scale((m_s.alpha - m_s.sigma * m_t.alpha / m_t.sigma) / 2, estimate_s.x0 - estimate.x0), state
        return x_s + scale((m_s.sigma - m_s.alpha * m_t.sigma / m_t.alpha) / 2, estimate_s.eps - estimate.eps), state
