"""Derivatives of networks by a number that their arguments depend on: in forward mode, or by a difference."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from difflab.process.gaussian import scale
from difflab.process.ranges import Bound, Positive
from difflab.process.schedule import derivative

LEAST = 2e-6  # of a difference in time


class Derivative(Protocol):
    """A way to a derivative."""

    mixed: ClassVar[bool]  # whether it bears a network in mixed precision

    def __call__(self, f: Callable[[Tensor], Tensor], low: Tensor, high: Tensor, time: Tensor) -> Tensor:
        """`df/dh` at `h = 0` of a function of `h: (B,)` that is defined on `[low, high]`, which has 0.

        The function is asked at `time + h`.
        """


@dataclass(frozen=True)
class Difference:
    """`(f(h2) - f(h1)) / (h2 - h1)` between `-step` and `step`, or as far as f goes. Two evaluations, in float32.

    The step is at most `share` of the time itself: towards the data sigma may be of the size of the time, or change
    without bound, as on VP. It is at least 2e-6, below which the rounding of a float32 would be felt.
    """

    as_before: ClassVar[Mapping[str, object]] = {"share": math.inf}
    step: Positive = 1e-3
    share: Bound = 0.05
    mixed: ClassVar[bool] = False

    def __call__(self, f: Callable[[Tensor], Tensor], low: Tensor, high: Tensor, time: Tensor) -> Tensor:
        """The difference."""
        step = (self.share * time).clamp(min=LEAST).clamp(max=self.step)
        h1, h2 = torch.maximum(low, -step), torch.minimum(high, step)
        return scale(1 / (h2 - h1), f(h2) - f(h1))


@dataclass(frozen=True)
class ForwardMode:
    """Automatic differentiation in forward mode: exact, at the price of two to three evaluations."""

    mixed: ClassVar[bool] = True

    def __call__(self, f: Callable[[Tensor], Tensor], low: Tensor, high: Tensor, time: Tensor) -> Tensor:
        """The derivative."""
        return derivative(f, torch.zeros_like(low))


def precision(by: Derivative, device: torch.device) -> AbstractContextManager[object]:
    """Where the derivative is taken: in full precision, if it does not bear the other."""
    return nullcontext() if by.mixed else full_precision(device)


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Float32 proper: no autocast, and no TF32, whose rounding a difference divides by its step.

    By TF32, torch's default for convolutions on CUDA, the derivative of a trained network was wrong by 6 %.
    """
    now, before = torch.backends.cudnn, torch.get_float32_matmul_precision()
    kept: dict[str, Any] = {"enabled": now.enabled, "benchmark": now.benchmark, "deterministic": now.deterministic}
    torch.set_float32_matmul_precision("highest")
    try:
        with (
            torch.autocast(device.type, enabled=False),
            torch.backends.cudnn.flags(**kept, allow_tf32=False, fp32_precision="ieee"),
        ):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
