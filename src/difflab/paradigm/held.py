"""Held weights: those of a flow map that its residual is regressed on, and how they follow the trained ones."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import nn

from difflab.denoiser.flow_map import FlowMap
from difflab.objective.gap import Karras
from difflab.paradigm.ema import average_of, decaying


class Held(Protocol):
    """A rule by which held weights follow the trained ones."""

    def start(self, trained: FlowMap) -> nn.Module | None:
        """A module with the held weights, as `network` finds them; None where they are the trained ones."""

    def network(self, held: nn.Module | None, trained: FlowMap) -> FlowMap:
        """The flow map with the held weights."""

    def follow(self, held: nn.Module | None, trained: FlowMap, before: float, after: float) -> None:
        """Go on after a step of training, at which the share of the budget that is over went from `before` on."""


@dataclass(frozen=True)
class Current:
    """The trained weights themselves. Song & Dhariwal 2023 (arXiv:2310.14189)."""

    def start(self, trained: FlowMap) -> None:
        """None."""

    def network(self, held: nn.Module | None, trained: FlowMap) -> FlowMap:
        """The trained one."""
        return trained

    def follow(self, held: nn.Module | None, trained: FlowMap, before: float, after: float) -> None:
        """They are the same."""


@dataclass(frozen=True)
class Average:
    """An exponential moving average, as `difflab.paradigm.EMA` has it. Song et al. 2023 (arXiv:2303.01469)."""

    decay: float = 0.999

    def start(self, trained: FlowMap) -> nn.Module:
        """The average, which starts at the trained weights."""
        return average_of(trained, decaying(self.decay)).requires_grad_(False)

    def network(self, held: nn.Module | None, trained: FlowMap) -> FlowMap:
        """The averaged one."""
        return cast(FlowMap, cast(nn.Module, held).module)

    def follow(self, held: nn.Module | None, trained: FlowMap, before: float, after: float) -> None:
        """Average in the new weights."""
        held.update_parameters(trained)  # type: ignore[union-attr, operator]  # an AveragedModel


@dataclass(frozen=True)
class Slowing:
    """A moving average that slows as the grid of a gap grows: `mu = decay^(first / N)` at N points, from `decay` on.

    Song et al. 2023 (arXiv:2303.01469), appendix C.
    """

    gap: Karras
    decay: float = 0.9

    def mu(self, progress: float) -> float:
        """The share that the average keeps in a step, where so much of the budget is over."""
        return float(self.decay ** (self.gap.first / (self.gap.steps(progress) + 1)))

    def start(self, trained: FlowMap) -> nn.Module:
        """The weights that training starts from."""
        return copy.deepcopy(trained).requires_grad_(False)

    def network(self, held: nn.Module | None, trained: FlowMap) -> FlowMap:
        """The averaged one."""
        return cast(FlowMap, held)

    def follow(self, held: nn.Module | None, trained: FlowMap, before: float, after: float) -> None:
        """Average in the new weights."""
        averaged, now = ([p.detach() for p in each.parameters()] for each in (cast(nn.Module, held), trained))
        torch._foreach_lerp_(averaged, now, 1 - self.mu(before))


@dataclass(frozen=True)
class Rounds:
    """The weights as they were when the round began; the budget has `rounds` of equal length.

    Progressive distillation, Salimans & Ho 2022 (arXiv:2202.00512), algorithm 2: in each the last one's student is the
    teacher.
    """

    rounds: int = 6

    def start(self, trained: FlowMap) -> nn.Module:
        """The first teacher: the weights that training starts from."""
        return copy.deepcopy(trained).requires_grad_(False)

    def network(self, held: nn.Module | None, trained: FlowMap) -> FlowMap:
        """The round's teacher."""
        return cast(FlowMap, held)

    def follow(self, held: nn.Module | None, trained: FlowMap, before: float, after: float) -> None:
        """Take over the student where a round ends."""
        if int(before * self.rounds) < int(after * self.rounds):
            cast(nn.Module, held).load_state_dict(trained.state_dict())
