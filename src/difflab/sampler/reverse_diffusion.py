"""The reverse SDE in the steps of the forward one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from difflab.denoiser.base import Denoise
from difflab.process.gaussian import Mix, scale, transition
from difflab.process.schedule import Schedule
from difflab.sampler.base import is_noise


def reverse(schedule: Schedule, t: Tensor, s: Tensor) -> tuple[Mix, Tensor]:
    """The mean of `x_s` as a mix of `x_t` and the estimate of the noise, and the size of the fresh noise."""
    m_t = schedule(t)
    a, variance = transition(schedule(s), m_t)
    return Mix(2 - a, -variance / m_t.sigma), variance.sqrt()


@dataclass(frozen=True)
class ReverseDiffusion:
    """`x_s = x - (a - 1) x + v score + sqrt(v) z`, where the forward step is `x_t = a x_s + sqrt(v) z`.

    Song et al. 2021 (arXiv:2011.13456), appendix E, eq. 46: their predictor, whose noise is that of the forward step
    where the ancestral sampler's is the posterior's. The data end is the clean estimate.
    """

    evaluations: ClassVar[int] = 1
    stochastic: ClassVar[bool] = True
    order: ClassVar[int] = 1

    def init(self, x: Tensor) -> None:
        """No state."""

    def step(
        self, denoise: Denoise, x: Tensor, t: Tensor, s: Tensor, state: None, noise: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, None]:
        """Step `x` from time `t` to `s < t`. Raises ValueError where alpha = 0, whence no step is small."""
        m_t, m_s, estimate = denoise.schedule(t), denoise.schedule(s), denoise(x, t)
        if m_s.sigma == 0:
            return estimate.x0, state
        if is_noise(m_t):
            raise ValueError(
                f"a forward step to alpha=0 forgets where it came from ({denoise.schedule} at t={t:g}), and cannot be "
                f"reversed so: choose sampler=ancestral or grid=log_snr, or train with schedule.t_max=0.999"
            )
        mean, kick = denoise.schedule.at(reverse, t, s)
        return mean(x, estimate.eps) + scale(kick, noise(x)), state
