"""Ancestral sampling of the reverse chain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from difflab.denoiser.base import Denoise
from difflab.process.gaussian import Bridge, Mix, bridge
from difflab.process.schedule import Schedule


def posterior_of(schedule: Schedule, t: Tensor, s: Tensor) -> tuple[Mix, Bridge]:
    """The mix at `s`, and q(x_s | x_t, x0)."""
    m_s = schedule(s)
    return m_s, bridge(m_s, schedule(t))


@dataclass(frozen=True)
class Ancestral:
    """`x_s ~ N(mean of q(x_s | x_t, x0), exp(v log upper + (1 - v) log lower))`, and no noise on the last step.

    `v = 0` is the posterior variance ("fixed small"), `v = 1` is beta_t ("fixed large"), and `v = None` takes the
    network's learned v. Ho et al. 2020 (arXiv:2006.11239), Algorithm 2; Nichol & Dhariwal 2021 (arXiv:2102.09672),
    eq. 15. Any two times serve, so a strided grid is their respacing.
    """

    v: float | None = 0.0
    evaluations: ClassVar[int] = 1
    stochastic: ClassVar[bool] = True
    order: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.v is not None and not 0 <= self.v <= 1:
            raise ValueError(f"sampler.v={self.v} must lie in [0, 1], or be null for the learned variance")

    def init(self, x: Tensor) -> None:
        """No state."""

    def step(
        self, denoise: Denoise, x: Tensor, t: Tensor, s: Tensor, state: None, noise: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, None]:
        """Step `x` from time `t` to `s < t`. Raises ValueError if v is to be learned and the network has none."""
        estimate = denoise(x, t)
        v = estimate.v if self.v is None else torch.tensor(self.v, dtype=torch.float64)
        if v is None:
            raise ValueError(
                "this sampler takes the variance that the network learned, and it learned none: "
                "choose sampler=ancestral or ancestral_large, or train with backbone.learned_variance=true"
            )
        m_s, posterior = denoise.schedule.at(posterior_of, t, s)
        x = posterior.mean(estimate.x0, estimate.eps)
        return (x + (0.5 * posterior.log_variance(v)).exp() * noise(x) if m_s.sigma > 0 else x), state
