"""Denoise, then put fresh noise back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from difflab.denoiser.base import Denoise


@dataclass(frozen=True)
class Consistency:
    """`x_s = alpha_s x0 + sigma_s z`: of the estimate at `t` nothing is kept but the clean sample.

    Song et al. 2023 (arXiv:2303.01469), Algorithm 1. Exact at any number of steps for a flow map, whose `x0` at `s = 0`
    is the consistency function: the end of the probability flow through `x_t`. A denoiser's `x0` is the mean of all
    ends, and its samples lose variance that no number of steps makes up for: of N(m, v), many steps make N(m, v / 2).
    Hence the order 0.
    """

    evaluations: ClassVar[int] = 1
    stochastic: ClassVar[bool] = True
    order: ClassVar[int] = 0

    def init(self, x: Tensor) -> None:
        """No state."""

    def step(
        self, denoise: Denoise, x: Tensor, t: Tensor, s: Tensor, state: None, noise: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, None]:
        """Step `x` from time `t` to `s < t`."""
        m_s, x0 = denoise.schedule(s), denoise(x, t, torch.zeros_like(t)).x0
        return (m_s(x0, noise(x)) if m_s.sigma > 0 else x0), state
