"""Drives: where the velocity comes from that a flow map follows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from difflab.denoiser.base import AnyDenoiser, Denoise
from difflab.denoiser.rescheduled import Rescheduled
from difflab.guidance.base import Chain, Guidance, Unguided
from difflab.objective.draws import Noised
from difflab.objective.residual import Drive
from difflab.process.chord import slope
from difflab.process.gaussian import scale
from difflab.process.ranges import Real
from difflab.process.schedule import Schedule
from difflab.process.target import Target
from difflab.sampler.heun import half_way


class DriveOf(Protocol):
    """What makes the drives of a batch, for a flow map whose fixed weights are in `own`, with outputs in `target`."""

    everywhere: ClassVar[bool]  # whether it knows the flow elsewhere than at the noised samples

    @property
    def guides(self) -> bool:
        """Whether its velocity is that of guidance."""

    def __call__(self, noised: Noised, own: AnyDenoiser, target: Target) -> Drive:
        """The drive of steps."""

    def tangent(self, noised: Noised, own: AnyDenoiser, target: Target) -> Drive:
        """The drive of steps of no length."""


@dataclass(frozen=True)
class Conditional:
    """The way of one sample under its noise, whose mean over the data is the flow."""

    noised: Noised
    schedule: Schedule
    target: Target

    def output(self, x: Tensor, t: Tensor) -> Tensor:
        """`n_t(x0, eps)`."""
        return self.target.mix(self.schedule, t)(self.noised.x0, self.noised.eps)

    def back(self, x: Tensor, t: Tensor, r: Tensor) -> Tensor:
        """`m_r(x0, eps)`."""
        return self.schedule(r)(self.noised.x0, self.noised.eps)


@dataclass(frozen=True)
class Followed:
    """The flow of a denoiser."""

    denoise: Denoise
    target: Target

    @torch.no_grad()
    def output(self, x: Tensor, t: Tensor) -> Tensor:
        """Its estimate, in the target."""
        estimate = self.denoise(x, t)
        return self.target.mix(self.denoise.schedule, t)(estimate.x0, estimate.eps)

    @torch.no_grad()
    def back(self, x: Tensor, t: Tensor, r: Tensor) -> Tensor:
        """A step of Heun's method in the levels, two evaluations: see `difflab.sampler.Heun`."""
        schedule, first = self.denoise.schedule, self.denoise(x, t)
        last = r.clamp(min=schedule.t_min)  # data have no noise to estimate
        second = self.denoise(schedule(last)(first.x0, first.eps), last)
        change = half_way(schedule, t, r)(second.x0 - first.x0, second.eps - first.eps)
        return schedule(r)(first.x0, first.eps) + change


@dataclass(frozen=True)
class FromData:
    """The data: the map of their own flow is learned from scratch. It knows the flow at the noised samples alone."""

    everywhere: ClassVar[bool] = False
    guides: ClassVar[bool] = False

    def __call__(self, noised: Noised, own: AnyDenoiser, target: Target) -> Drive:
        """The way of each sample under its noise."""
        return Conditional(noised, own.schedule, target)

    tangent = __call__


@dataclass(frozen=True)
class Steered:
    """The way of one sample, under guidance by the flow map's own velocity."""

    way: Conditional
    own: AnyDenoiser
    scale: float
    kappa: float

    @torch.no_grad()
    def output(self, x: Tensor, t: Tensor) -> Tensor:
        """`w y + kappa c + (1 - w - kappa) u` of outputs, which mix linearly; without a label `y` alone."""
        label, null = self.way.noised.label, self.own.classes
        y, w = self.way.output(x, t), self.scale * (1 - self.kappa)
        given, free = (self.own(x, t, each).out for each in (label, torch.full_like(label, null)))
        guided = w * y + self.kappa * given + (1 - w - self.kappa) * free
        return torch.where((label == null).view(-1, *[1] * (x.ndim - 1)), y, guided)

    def back(self, x: Tensor, t: Tensor, r: Tensor) -> Tensor:
        """A straight step along the guided velocity."""
        return x + scale(r - t, slope(self.own.schedule, self.own.target, x, t, self.output(x, t)))


@dataclass(frozen=True)
class FromGuidedData:
    """The data under classifier-free guidance of the given scale, which the flow map learns: one evaluation has it.

    `w y + kappa c + (1 - w - kappa) u` with `w = scale (1 - kappa)`, where y is the data's, and c and u are the map's
    own with the label and without: at the optimum `u + scale (c - u)`. Geng et al. 2025 (arXiv:2505.13447). It
    needs labels, and `label_dropout` above 0.
    """

    scale: Real = 2.0
    kappa: float = 0.5
    everywhere: ClassVar[bool] = False
    guides: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 <= self.kappa < 1:
            raise ValueError(f"{self}: kappa is a share of the guided velocity, in [0, 1)")

    def __call__(self, noised: Noised, own: AnyDenoiser, target: Target) -> Drive:
        """The way of each sample, steered."""
        return Steered(Conditional(noised, own.schedule, target), own, self.scale, self.kappa)

    tangent = __call__


@dataclass(frozen=True)
class FromItself:
    """The flow map's own velocity, its output for steps of no length, which the data train."""

    everywhere: ClassVar[bool] = True
    guides: ClassVar[bool] = False

    def __call__(self, noised: Noised, own: AnyDenoiser, target: Target) -> Drive:
        """The flow of the fixed weights."""
        return Followed(own.bind(noised.label), target)

    def tangent(self, noised: Noised, own: AnyDenoiser, target: Target) -> Drive:
        """The data."""
        return Conditional(noised, own.schedule, target)


@dataclass(frozen=True)
class FromTeacher:
    """The flow of a trained denoiser: distillation. Under a guidance, or several by name, it is distilled with it.

    Distilled guidance: Meng et al. 2023 (arXiv:2210.03142), at one scale.

    Which denoiser it is enters the identity of a run as its teacher, by the content of the weights. None leaves it out,
    as measuring does; then training raises ValueError.
    """

    outside_identity: ClassVar[Sequence[str]] = ("denoiser",)

    denoiser: Callable[[], AnyDenoiser] | None
    guidance: Guidance | Mapping[str, Guidance] | None = None
    everywhere: ClassVar[bool] = True

    @property
    def chain(self) -> Chain:
        """The guidances of the teacher."""
        named = self.guidance if isinstance(self.guidance, Mapping) else {"": self.guidance or Unguided()}
        return Chain(tuple(each for each in named.values() if each != Unguided()))

    @property
    def guides(self) -> bool:
        """Whether the teacher is guided."""
        return self.chain != Chain()

    def __call__(self, noised: Noised, own: AnyDenoiser, target: Target) -> Drive:
        """The flow of the teacher."""
        if self.denoiser is None:
            raise ValueError("this flow map has no teacher to learn from: give its drive a denoiser")
        teacher = self.denoiser().to(noised.x_t.device)
        if teacher.schedule != own.schedule:
            teacher = Rescheduled(teacher, own.schedule)
        return Followed(self.chain(teacher).bind(noised.label), target)

    tangent = __call__
