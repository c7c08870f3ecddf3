"""What exponential integrators share: the linear part of the flow is solved, the estimates between are a polynomial.

With `lambda = log_snr / 2` and `h = lambda_s - lambda_t` the flow is either of::

    x_s = (sigma_s / sigma_t) x_t + alpha_s int_0^h exp(u - h) x0(lambda_t + u) du
    x_s = (alpha_s / alpha_t) x_t - sigma_s int_0^h exp(h - u) eps(lambda_t + u) du

A constant estimate gives the same step of first order for both, `schedule(s)(x0, eps)`, and a polynomial adds to it.
Lu et al. 2022 (arXiv:2211.01095), Proposition 4.1, and 2022 (arXiv:2206.00927), eq. 3.4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from difflab.denoiser.base import Denoise
from difflab.process.gaussian import Mix, scale
from difflab.process.schedule import Schedule
from difflab.sampler.base import is_noise

POINTS, WEIGHTS = (torch.from_numpy(values) for values in np.polynomial.legendre.leggauss(32))


def moment(h: Tensor, rate: float, k: int) -> Tensor:
    """`int_0^h exp(rate (h - u)) u^k du`, by Gauss's rule: the closed form cancels where h is small."""
    u = h[..., None] * (1 + POINTS) / 2
    return h / 2 * (WEIGHTS * (rate * (h[..., None] - u)).exp() * u**k).sum(-1)


class Node(NamedTuple):
    """A time, and the estimates there."""

    time: Tensor
    estimates: tuple[Tensor, Tensor]  # x0, eps


class Form(NamedTuple):
    """One of the two integrals: which of `(x0, eps)` is in it, and the rate of its exponential."""

    part: int
    rate: float


DATA, NOISE = Form(0, -1.0), Form(1, 1.0)
Nodes = tuple[Node, ...]


@dataclass(frozen=True)
class Exponential:
    """A multistep solver: each update goes out from the newest node, with the polynomial through those before it.

    The first step is of first order, so the whole is of order 2 at most; from all but pure noise that hardly shows.
    Steps that start or end where `alpha < faint sigma` are of first order as well: there h is large, and a polynomial
    through the estimates of so short a history leads far away. Lu et al. 2022 (arXiv:2206.00927) end their schedules
    before, at `alpha / sigma` of .006 and .008.
    """

    solver_order: int = 2
    evaluations: ClassVar[int] = 1
    faint: ClassVar[float] = 1e-3

    def __post_init__(self) -> None:
        if self.solver_order not in (1, 2, 3):
            raise ValueError(f"sampler.solver_order={self.solver_order} must be 1, 2 or 3")

    @property
    def stochastic(self) -> bool:
        """Whether it draws noise: no."""
        return False

    @property
    def order(self) -> int:
        """The order of convergence."""
        return min(self.solver_order, 2)

    @property
    def form(self) -> Form:
        """The integral that is approximated."""
        raise NotImplementedError

    def gather(self, schedule: Schedule, state: Nodes, node: Node) -> Nodes:
        """The nodes of the next update, from those of the last one and the newest."""
        return (node, *state)[: self.solver_order]

    def first(self, schedule: Schedule, t: Tensor, s: Tensor) -> Mix:
        """The step of first order from `t` to `s`, as a mix of the estimates at `t`."""
        return schedule(s)

    def slope(self, h: Tensor) -> Tensor:
        """What multiplies the slope of a line through two nodes: the published `h / 2` for u under the integral."""
        return h / 2 * moment(h, self.form.rate, 0)

    def bend(self, h: Tensor) -> Tensor:
        """What multiplies the second divided difference of a parabola: the integral of u^2."""
        return moment(h, self.form.rate, 2)

    def update(self, schedule: Schedule, nodes: Nodes, s: Tensor) -> Tensor:
        """The sample at the time `s`, going out from the first of the nodes."""
        part, (base, *others) = self.form.part, nodes
        x = schedule.at(self.first, base.time, s)(*base.estimates)
        if not others or schedule.at(self.is_faint, s):
            return x
        weights = schedule.at(self.weights, s, *(node.time for node in nodes))
        for weight, node in zip(weights, others, strict=True):
            x = x + scale(weight, node.estimates[part] - base.estimates[part])
        return x

    def is_faint(self, schedule: Schedule, t: Tensor) -> Tensor:
        """Whether steps that start or end at `t` are of first order for want of signal."""
        return is_noise(schedule(t), self.faint)

    def weights(self, schedule: Schedule, s: Tensor, *nodes: Tensor) -> Sequence[Tensor]:
        """What multiplies the differences of the estimates at the other nodes from that at the first."""
        (part, rate), m_s, (base, *others) = self.form, schedule(s), map(schedule, nodes)
        h, *lengths = ((mix.log_snr - base.log_snr) / 2 for mix in (m_s, *others))
        u, powers = torch.stack(lengths, -1), range(1, len(others) + 1)
        higher = [moment(h, rate, k) for k in powers[2:]]
        moments = [moment(h, rate, 1), self.bend(h), *higher] if len(others) > 1 else [self.slope(h)]
        solved = torch.linalg.solve(torch.stack([u**k for k in powers], -2), torch.stack(moments, -1))
        return [-rate * m_s[part] * each for each in solved.unbind(-1)]

    def init(self, x: Tensor) -> Nodes:
        """No nodes."""
        return ()

    def step(
        self, denoise: Denoise, x: Tensor, t: Tensor, s: Tensor, state: Nodes, noise: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Nodes]:
        """Step `x` from time `t` to `s < t`."""
        schedule, estimate = denoise.schedule, denoise(x, t)
        if schedule(s).sigma == 0:
            return estimate.x0, ()
        nodes = self.gather(schedule, state, Node(t, (estimate.x0, estimate.eps)))
        return self.update(schedule, nodes, s), () if schedule.at(self.is_end, t) else nodes

    def is_end(self, schedule: Schedule, t: Tensor) -> Tensor:
        """Whether no later step uses the estimate at `t`: at the data end, and where x_t is almost pure noise."""
        return self.is_faint(schedule, t) | (schedule(t).sigma == 0)
