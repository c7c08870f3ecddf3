"""Samplers: one step from a time to a less noisy one; the loop, the times and the noise are the caller's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor

from difflab.denoiser import Denoise


class Sampler(Protocol):
    """A solver whose state is a value."""

    @property
    def evaluations(self) -> int:
        """Calls of the denoiser in one step."""

    @property
    def order(self) -> int:
        """The order of convergence to the probability flow, or of the moments if the sampler is stochastic."""

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
