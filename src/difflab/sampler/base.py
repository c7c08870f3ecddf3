"""Samplers: one step from a time to a less noisy one; the loop, the times and the noise are the caller's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor

from difflab.denoiser.base import Denoise
from difflab.process.gaussian import Mix
from difflab.process.schedule import Schedule


def is_noise(m: Mix, share: float = 1e-7) -> Tensor:
    """Whether `alpha < share sigma`; by default, float32 samples then hold no digit of the clean sample."""
    return m.alpha < share * m.sigma


def check_continuous(schedule: Schedule, sampler: object, instead: str) -> None:
    """Raise ValueError, with what to do `instead`, for a sampler that evaluates between the steps of a table."""
    if schedule.discrete:
        raise ValueError(
            f"{sampler} evaluates at any time, and {schedule} was trained at whole steps alone: choose {instead} for "
            f"this run, or train with schedule=vp"
        )


class Sampler(Protocol):
    """A solver whose state is a value."""

    @property
    def evaluations(self) -> int | None:
        """Calls of the denoiser in one step, and at most so many in the step that ends in the data.

        None if it takes one step, with as many calls as its tolerances ask.
        """

    @property
    def stochastic(self) -> bool:
        """Whether it draws noise."""

    @property
    def order(self) -> float:
        """The order of convergence to the probability flow, or of the moments if the sampler is stochastic.

        0 if the error does not fall as a power of the steps.
        """

    def init(self, x: Tensor) -> Any:  # noqa: ANN401  # the state's type is the sampler's own
        """The state before the first step."""

    def step(
        self,
        denoise: Denoise,
        x: Tensor,
        t: Tensor,
        s: Tensor,
        state: Any,  # noqa: ANN401
        noise: Callable[[Tensor], Tensor],
    ) -> tuple[Tensor, Any]:
        """Step `x` from time `t` to `s < t`; each call of `noise(x)` draws fresh noise like `x`."""
