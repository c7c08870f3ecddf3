"""Ancestral sampling of the reverse chain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
    """`x_s = mean of q(x_s | x_t, x0) + noise std z`, `std^2 = exp(v log upper + (1 - v) log lower)`; none at last.

    `v = 0` is the posterior variance ("fixed small"), `v = 1` is beta_t ("fixed large"), and `v = None` takes the
    network's learned v. Ho et al. 2020 (arXiv:2006.11239), Algorithm 2; Nichol & Dhariwal 2021 (arXiv:2102.09672),
    eq. 15. Any two times serve, so a strided grid is their respacing.

    `noise = 1` is the chain. `noise = 0` takes the mean of each step alone, and samples collapse towards the mean of
    the data. For Gaussian data with variance V_0, the deviation of x_t from its mean is multiplied by
    `alpha_t V_0 / (alpha_0 V_t)`, for any number of steps. The probability flow multiplies it by `sqrt(V_0 / V_t)`.
    `alpha_t V_s / (alpha_s V_t)` is the regression of x_s on x_t, and its product over the steps telescopes.
    """

    v: float | None = 0.0
    noise: float = 1.0
    as_before: ClassVar[Mapping[str, object]] = {"noise": 1.0}
    evaluations: ClassVar[int] = 1
    order: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.v is not None and not 0 <= self.v <= 1:
            raise ValueError(f"sampler.v={self.v} must lie in [0, 1], or be null for the learned variance")
        if self.noise < 0:
            raise ValueError(f"sampler.noise={self.noise} must be at least 0: 1 is the chain, 0 leaves its noise out")

    @property
    def stochastic(self) -> bool:
        """Whether it draws noise."""
        return self.noise > 0

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
        if m_s.sigma > 0 and self.noise:
            x = x + self.noise * (0.5 * posterior.log_variance(v)).exp() * noise(x)
        return x, state
