"""Residuals of flow maps: what must vanish for `x_s = A x_t + B y(x_t, t, s)` to be the map of a flow.

Three equations say that a map `X(x, t, s)` follows a flow `dx/dt = u`; each gives a residual, in the units of the
network's output `y`, for any schedule and target:

- Eulerian, where the start moves along the flow: `d/dt X(x_t, t, s) = 0`;
- Lagrangian, where the end does: `d/ds X(x, t, s) = u(X, s)`;
- semigroup, in two steps: `X(X(x, t, r), r, s) = X(x, t, s)`.

Boffi et al. 2025 (arXiv:2505.18825). `A` and `B` are those of `difflab.process.chord`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from difflab.objective.derivative import Derivative, Difference, precision
from difflab.objective.gap import Gap
from difflab.process.chord import chord, from_end, from_start, output, slope
from difflab.process.gaussian import scale
from difflab.process.ranges import Share
from difflab.process.schedule import Schedule
from difflab.process.target import Target


class TrainedMap(Protocol):
    """A flow map that is trained: the output `y(x, t, s)` of its network for samples `(B, *)` and times `(B,)`."""

    @property
    def schedule(self) -> Schedule:
        """The schedule that times refer to."""

    @property
    def target(self) -> Target:
        """What the output is in."""

    def __call__(self, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """The output, with gradients."""

    def fixed(self, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """The output that residuals are regressed on: without gradients, perhaps of other weights."""


class Step(NamedTuple):
    """The steps of a batch: from samples `x` `(B, *)` at times `t` to `s < t`, both `(B,)`."""

    x: Tensor
    t: Tensor
    s: Tensor
    u: Tensor  # uniform on [0, 1), float64 (B,): what a residual may draw
    progress: float  # the share of the training budget that is over


class Drive(Protocol):
    """Where dx/dt comes from: the data, a teacher, or the flow map's own average."""

    def output(self, x: Tensor, t: Tensor) -> Tensor:
        """The output of a chord of no length at samples `x` and times `t`, without gradients."""

    def back(self, x: Tensor, t: Tensor, r: Tensor) -> Tensor:
        """The samples at the times `r < t` on the way of `x`."""


class Residual(Protocol):
    """What must vanish. Classes of residuals derive from it."""

    follows: ClassVar[bool]  # whether it asks the drive elsewhere than at the samples themselves
    driven: ClassVar[bool]  # whether it asks it at all

    def __call__(self, flow: TrainedMap, drive: Drive, step: Step) -> Tensor:
        """The residual in the units of the output, `(B, *)`."""

    def span(self, schedule: Schedule, step: Step) -> Tensor:
        """The time between the two samples that are compared, `(B,)`, which a difference is divided by; or else 1."""
        return torch.ones_like(step.t)


@dataclass(frozen=True)
class Eulerian(Residual):
    """`A' x + A u + B' y + B dy/dt`, over `B'` at `s = t`: zero where moving the start along the flow moves no end.

    `u` is the drive's and `dy/dt` the derivative of the output along `(u, 1)`, at a fixed end and without gradients.
    With the velocity on straight paths it is `y - u + (t - s) dy/dt`, the identity of Geng et al. 2025
    (arXiv:2505.13447). With v on the circle and s = 0 it is the tangent of Lu & Song 2024 (arXiv:2410.11081), whose
    factor `cos t` avoids a division by alpha.

    All terms but the regression `B' (y - y')`, with y' the drive's output, are multiplied by a factor that rises from 0
    to 1 over the first `warmup` of the budget: Lu & Song 2024.
    """

    derivative: Derivative = field(default_factory=Difference)
    warmup: Share = 0.0
    follows: ClassVar[bool] = False
    driven: ClassVar[bool] = True

    def __call__(self, flow: TrainedMap, drive: Drive, step: Step) -> Tensor:
        """The residual."""
        x, t, s, parts = step.x, step.t, step.s, (flow.schedule, flow.target)
        a, rate, unit = chord(*parts, t, s), from_start(*parts, t, s), from_start(*parts, t, t).sigma
        z = drive.output(x, t)
        u = slope(*parts, x, t, z)
        with torch.no_grad(), precision(self.derivative, x.device):
            low, high = s.clamp(min=flow.schedule.t_min) - t, flow.schedule.t_max - t
            dy = self.derivative(lambda h: flow.fixed(x + scale(h, u), t + h, s), low, high, t)
        beyond = scale(rate.alpha, x) + scale(a.alpha, u) + scale(a.sigma, dy) + scale(rate.sigma, z)
        grown = min(1.0, step.progress / self.warmup) if self.warmup else 1.0
        return scale(rate.sigma / unit, flow(x, t, s) - z) + scale(grown / unit, beyond)


@dataclass(frozen=True)
class Lagrangian(Residual):
    """`dA/ds x + dB/ds y + B dy/ds - u(x_s, s)`, over `-B'` at `s`: zero where moving the end follows the flow.

    `x_s = A x + B y`, and the derivative has gradients. The drive is asked at `x_s`, so that it cannot be the data's.
    Boffi et al. 2025 (arXiv:2505.18825), for straight paths.
    """

    derivative: Derivative = field(default_factory=Difference)
    follows: ClassVar[bool] = True
    driven: ClassVar[bool] = True

    def __call__(self, flow: TrainedMap, drive: Drive, step: Step) -> Tensor:
        """The residual."""
        x, t, parts = step.x, step.t, (flow.schedule, flow.target)
        s = step.s.clamp(min=flow.schedule.t_min)
        a, rate, unit = chord(*parts, t, s), from_end(*parts, t, s), from_start(*parts, s, s).sigma
        with precision(self.derivative, x.device):
            y = flow(x, t, s)
            dy = self.derivative(lambda h: flow(x, t, s + h), flow.schedule.t_min - s, t - s, s)
        end = a(x, y)
        with torch.no_grad():
            u = slope(*parts, end, s, drive.output(end, s))
        return scale(-1 / unit, rate(x, y) + scale(a.sigma, dy) - u)


class Middle(Protocol):
    """Where a step is cut in two."""

    def __call__(self, t: Tensor, s: Tensor, u: Tensor) -> Tensor:
        """A time between `s` and `t`, for `u` uniform on [0, 1)."""


@dataclass(frozen=True)
class Half:
    """Half of the way. Frans et al. 2024 (arXiv:2410.12557); Salimans & Ho 2022 (arXiv:2202.00512), alg. 2."""

    def __call__(self, t: Tensor, s: Tensor, u: Tensor) -> Tensor:
        """The time in the middle."""
        return (s + t) / 2


@dataclass(frozen=True)
class Anywhere:
    """Uniform between the ends. Boffi et al. 2025 (arXiv:2505.18825)."""

    def __call__(self, t: Tensor, s: Tensor, u: Tensor) -> Tensor:
        """A time between them."""
        return s + (t - s) * u


@dataclass(frozen=True)
class Semigroup(Residual):
    """`y - y'`, where `y'` is the output that goes in one step where the fixed map goes in two, by way of `middle`.

    With the velocity on straight paths `y'` is the mean of the two outputs: Frans et al. 2024 (arXiv:2410.12557), who
    ask the shortest halves at no length; here at their own, which nothing else trains. Where the fixed map is a
    teacher's DDIM step it is Salimans & Ho 2022 (arXiv:2202.00512), algorithm 2.
    """

    middle: Middle = field(default_factory=Half)
    follows: ClassVar[bool] = False
    driven: ClassVar[bool] = False

    def __call__(self, flow: TrainedMap, drive: Drive, step: Step) -> Tensor:
        """The residual."""
        x, t, s, parts = step.x, step.t, step.s, (flow.schedule, flow.target)
        r = self.middle(t, s, step.u)
        a, first, second = chord(*parts, t, s), chord(*parts, t, r), chord(*parts, r, s)
        y1 = flow.fixed(x, t, r)
        y2 = flow.fixed(first(x, y1), r, s)
        # the output that leads to second(first(x, y1), y2), with the coefficients of x taken together: they cancel
        rest = scale((second.alpha * first.alpha - a.alpha) / a.sigma, x)
        goal = rest + scale(second.alpha * first.sigma / a.sigma, y1) + scale(second.sigma / a.sigma, y2)
        return flow(x, t, s) - goal


@dataclass(frozen=True)
class Paired(Residual):
    """`y - n_t(x0, eps)` for data and noise that are the two ends of a flow: what the chord between them says.

    One-step distillation of a rectified flow from its own pairs: Liu et al. 2023 (arXiv:2209.03003).
    """

    follows: ClassVar[bool] = False
    driven: ClassVar[bool] = True

    def __call__(self, flow: TrainedMap, drive: Drive, step: Step) -> Tensor:
        """The residual."""
        return flow(step.x, step.t, step.s) - drive.output(step.x, step.t)


@dataclass(frozen=True)
class EulerianDiscrete(Residual):
    """`y - y'` over `t - r`, where `y'` leads to where the fixed map leads from a sample a little further on.

    `X(x_t, t, s) = X(x_r, r, s)` for the drive's sample `x_r` at `r < t`: with the data's the sample under the same
    noise, consistency training; with a teacher's the end of a solver's step, consistency distillation. Song et al. 2023
    (arXiv:2303.01469); `gap` chooses r. In the loss the distance is that of the difference `y - y'`, and it is the
    distance that is divided by `t - r`, the `span`: Song & Dhariwal 2023 (arXiv:2310.14189).
    """

    gap: Gap
    follows: ClassVar[bool] = False
    driven: ClassVar[bool] = True

    def __call__(self, flow: TrainedMap, drive: Drive, step: Step) -> Tensor:
        """The residual."""
        x, t, s, parts = step.x, step.t, step.s, (flow.schedule, flow.target)
        r = self.gap(flow.schedule, t, s, step.progress)
        x_r = drive.back(x, t, r)
        rest = chord(*parts, torch.where(r > s, r, t), s)(x_r, flow.fixed(x_r, r, s))
        end = torch.where((r > s).to(x.device).view(-1, *[1] * (x.ndim - 1)), rest, x_r)
        return scale(1 / (t - r), flow(x, t, s) - output(*parts, x, t, end, s))

    def span(self, schedule: Schedule, step: Step) -> Tensor:
        """`t - r`."""
        return step.t - self.gap(schedule, step.t, step.s, step.progress)
