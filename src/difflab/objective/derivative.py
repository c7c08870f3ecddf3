"""Derivatives of networks by a number that their arguments depend on: in forward mode, or by a difference."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from difflab.process.gaussian import scale


class Derivative(Protocol):
    """A way to a derivative."""

    mixed: ClassVar[bool]  # whether it bears a network in mixed precision

    def __call__(self, f: Callable[[Tensor], Tensor], low: Tensor, high: Tensor) -> Tensor:
        """`df/dh` at `h = 0` of a function of `h: (B,)` that is defined on `[low, high]`, which has 0."""


@dataclass(frozen=True)
class Difference:
    """`(f(h2) - f(h1)) / (h2 - h1)` between `-step` and `step`, or as far as f goes. Two evaluations, in float32."""

    step: float = 1e-3
    mixed: ClassVar[bool] = False

    def __call__(self, f: Callable[[Tensor], Tensor], low: Tensor, high: Tensor) -> Tensor:
        """The difference."""
        h1, h2 = low.clamp(min=-self.step), high.clamp(max=self.step)
        return scale(1 / (h2 - h1), f(h2) - f(h1))


@dataclass(frozen=True)
class ForwardMode:
    """Automatic differentiation in forward mode: exact, at the price of two to three evaluations."""

    mixed: ClassVar[bool] = True

    def __call__(self, f: Callable[[Tensor], Tensor], low: Tensor, high: Tensor) -> Tensor:
        """The derivative."""
        zero = torch.zeros_like(low)
        dy: Tensor = torch.func.jvp(f, (zero,), (torch.ones_like(zero),))[1]
        return dy


def precision(derivative: Derivative, x: Tensor) -> AbstractContextManager[object]:
    """Where the derivative is taken: in full precision, if it does not bear the other."""
    return nullcontext() if derivative.mixed else torch.autocast(x.device.type, enabled=False)
