"""Explicit Runge-Kutta methods on the probability flow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from difflab.denoiser.base import Denoise, velocity
from difflab.process.gaussian import scale
from difflab.sampler.base import check_continuous


@dataclass(frozen=True)
class RungeKutta:
    """`x_s = x + h sum_i weights_i v_i` in the schedule's own time, with `h = s - t`.

    `v_i = dx/dt` at `x + nodes_i h v_(i-1)` and `t + nodes_i h`: each stage goes out from the one before.
    """

    nodes: ClassVar[tuple[float, ...]]
    weights: ClassVar[tuple[float, ...]]
    stochastic: ClassVar[bool] = False

    def init(self, x: Tensor) -> None:
        """No state."""

    def step(
        self, denoise: Denoise, x: Tensor, t: Tensor, s: Tensor, state: None, noise: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, None]:
        """Step `x` from time `t` to `s < t`. Raises ValueError on a table."""
        check_continuous(denoise.schedule, self, "sampler=heun, dpm_solver_pp or unipc")
        if denoise.schedule(s).sigma == 0:
            return denoise(x, t).x0, state
        end, v = x, torch.zeros_like(x)
        for node, weight in zip(self.nodes, self.weights, strict=True):
            v = velocity(denoise, x + scale(node * (s - t), v), t + node * (s - t))
            end = end + scale(weight * (s - t), v)
        return end, state


@dataclass(frozen=True)
class Midpoint(RungeKutta):
    """`x_s = x + (s - t) v(x + (s - t) v(x, t) / 2, (t + s) / 2)`, and the clean estimate at the data end.

    Runge 1895 (doi:10.1007/BF01446807), on the flow of Song et al. 2021 (arXiv:2011.13456), eq. 13.
    """

    nodes: ClassVar[tuple[float, ...]] = (0, 1 / 2)
    weights: ClassVar[tuple[float, ...]] = (0, 1)
    evaluations: ClassVar[int] = 2
    order: ClassVar[int] = 2


@dataclass(frozen=True)
class RK4(RungeKutta):
    """The classical method of four stages, `x_s = x + (s - t) (v1 + 2 v2 + 2 v3 + v4) / 6`, likewise.

    Kutta 1901 (Zeitschrift fuer Mathematik und Physik 46), on the flow of Song et al. 2021 (arXiv:2011.13456), eq. 13.
    """

    nodes: ClassVar[tuple[float, ...]] = (0, 1 / 2, 1 / 2, 1)
    weights: ClassVar[tuple[float, ...]] = (1 / 6, 1 / 3, 1 / 3, 1 / 6)
    evaluations: ClassVar[int] = 4
    order: ClassVar[int] = 4
