"""Euler's method on the probability flow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from difflab.denoiser.base import Denoise, velocity
from difflab.process.gaussian import scale


@dataclass(frozen=True)
class Euler:
    """`x_s = x + (s - t) dx/dt` in the schedule's own time, and the clean estimate at the data end.

    Song et al. 2021 (arXiv:2011.13456), eq. 13; rectified flow's sampler, Liu et al. 2023 (arXiv:2209.03003), eq. 1.
    """

    evaluations: ClassVar[int] = 1
    stochastic: ClassVar[bool] = False
    order: ClassVar[int] = 1

    def init(self, x: Tensor) -> None:
        """No state."""

    def step(
        self, denoise: Denoise, x: Tensor, t: Tensor, s: Tensor, state: None, noise: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, None]:
        """Step `x` from time `t` to `s < t`."""
        if denoise.schedule(s).sigma == 0:
            return denoise(x, t).x0, state
        return x + scale(s - t, velocity(denoise, x, t)), state
