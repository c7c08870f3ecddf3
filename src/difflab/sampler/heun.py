"""Heun's method on the probability flow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from difflab.denoiser.base import Denoise
from difflab.process.gaussian import Mix
from difflab.process.schedule import Schedule


def half_way(schedule: Schedule, t: Tensor, s: Tensor) -> Mix:
    """`((alpha_s - alpha_t) / 2, (sigma_s - sigma_t) / 2)`."""
    m_t, m_s = schedule(t), schedule(s)
    return Mix((m_s.alpha - m_t.alpha) / 2, (m_s.sigma - m_t.sigma) / 2)


@dataclass(frozen=True)
class Heun:
    """The trapezoid rule for `dx = x0 dalpha + eps dsigma`, and the clean estimate at the data end.

    `x_s = x + (alpha_s - alpha_t) (x0 + x0') / 2 + (sigma_s - sigma_t) (eps + eps') / 2`, where the primed estimates
    are made at `s` after a step of first order, which is DDIM's. Karras et al. 2022 (arXiv:2206.00364), Algorithm 1,
    with the levels in place of time. The two are one where the levels are linear in time; elsewhere no rate enters, so
    that neither sigma' without bound, as of VP towards the data, nor a table's lack of rates does harm.
    """

    evaluations: ClassVar[int] = 2
    stochastic: ClassVar[bool] = False
    order: ClassVar[int] = 2

    def init(self, x: Tensor) -> None:
        """No state."""

    def step(
        self, denoise: Denoise, x: Tensor, t: Tensor, s: Tensor, state: None, noise: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, None]:
        """Step `x` from time `t` to `s < t`."""
        m_s, estimate = denoise.schedule(s), denoise(x, t)
        if m_s.sigma == 0:
            return estimate.x0, state
        x_s = m_s(estimate.x0, estimate.eps)
        estimate_s, half = denoise(x_s, s), denoise.schedule.at(half_way, t, s)
        return x_s + half(estimate_s.x0 - estimate.x0, estimate_s.eps - estimate.eps), state
