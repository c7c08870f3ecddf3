"""Distances: how the residual of a flow map becomes a loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from difflab.process.gaussian import scale
from difflab.process.ranges import Positive, Size


class Distance(Protocol):
    """A loss of a residual."""

    def __call__(self, residual: Tensor, length: Tensor) -> Tensor:
        """The loss `(B,)` of residuals `(B, *)` of an output that moves the end of its step `length: (B,)` times.

        Those of samples apart in time are differences, not yet over the time between them: see `Residual.span`.
        """


@dataclass(frozen=True)
class Squared:
    """The mean square over dimensions."""

    def __call__(self, residual: Tensor, length: Tensor) -> Tensor:
        """`mean R^2`."""
        return residual.square().flatten(1).mean(1)


@dataclass(frozen=True)
class Adaptive:
    """`|R|^2 / (|R|^2 + c)^p` with a constant denominator: all residuals have gradients of about one size for `p = 1`.

    Geng et al. 2025 (arXiv:2505.13447), with the sum over dimensions as in their code.
    """

    p: Size = 1.0
    c: Positive = 1e-3

    def __call__(self, residual: Tensor, length: Tensor) -> Tensor:
        """The weighted square."""
        square = residual.square().flatten(1).sum(1)
        return square / (square.detach() + self.c) ** self.p


@dataclass(frozen=True)
class PseudoHuber:
    """`sqrt(|r|^2 + c^2) - c`, with `c = factor sqrt(dimensions)`, of the residual `r` of the step's end.

    A square for small residuals and their norm for large ones. Song & Dhariwal 2023 (arXiv:2310.14189).
    """

    factor: Positive = 0.00054

    def __call__(self, residual: Tensor, length: Tensor) -> Tensor:
        """The smoothed norm."""
        moved = scale(length, residual).flatten(1)
        c = self.factor * moved.shape[1] ** 0.5
        smooth: Tensor = (moved.square().sum(1) + c**2).sqrt() - c
        return smooth
