"""Steps taken again after their noise was put back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from difflab.denoiser.base import Denoise
from difflab.process.gaussian import scale, transition
from difflab.process.ranges import Count
from difflab.process.schedule import Schedule
from difflab.sampler.ancestral import Ancestral
from difflab.sampler.base import Sampler


def back(schedule: Schedule, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """`a` and `k` of the forward step `x_t = a x_s + k z`."""
    a, variance = transition(schedule(s), schedule(t))
    return a, variance.sqrt()


@dataclass(frozen=True)
class Resampling:
    """A step `t -> s` of any other sampler, `repeats` times in all, with `x_t ~ q(x_t | x_s)` drawn in between.

    Lugmayr et al. 2022 (arXiv:2201.09865), Algorithm 1: so what guidance says of a part of `x0`, as of the known part
    of an image, has `repeats` steps to spread through the rest. Each of them has the state that the first one had.
    The step that ends in the data is taken once.
    """

    sampler: Sampler = field(default_factory=Ancestral)
    repeats: Count = 10

    def __post_init__(self) -> None:
        if self.repeats < 1 or self.sampler.evaluations is None:
            raise ValueError(
                f"sampler.repeats={self.repeats} must be at least 1, and {self.sampler} a sampler that steps over a "
                f"grid, as ancestral or ddim"
            )

    @property
    def evaluations(self) -> int | None:
        """Calls of the denoiser in one step: the sampler's, times the repeats."""
        return self.sampler.evaluations and self.repeats * self.sampler.evaluations

    @property
    def stochastic(self) -> bool:
        """Whether it draws noise."""
        return self.repeats > 1 or self.sampler.stochastic

    @property
    def order(self) -> float:
        """The sampler's own, but 1 at most: noise put back leaves the path that a multistep history is of."""
        return min(self.sampler.order, 1)

    def init(self, x: Tensor) -> Any:  # noqa: ANN401  # the sampler's
        """The sampler's state."""
        return self.sampler.init(x)

    def step(
        self,
        denoise: Denoise,
        x: Tensor,
        t: Tensor,
        s: Tensor,
        state: Any,  # noqa: ANN401
        noise: Callable[[Tensor], Tensor],
    ) -> tuple[Tensor, Any]:
        """Step `x` from time `t` to `s < t`."""
        m_s, (a, kick) = denoise.schedule(s), denoise.schedule.at(back, s, t)
        x_s, new = self.sampler.step(denoise, x, t, s, state, noise)
        for _ in range(self.repeats - 1 if m_s.sigma > 0 else 0):
            x = scale(a, x_s) + scale(kick, noise(x))
            x_s, new = self.sampler.step(denoise, x, t, s, state, noise)
        return x_s, new
