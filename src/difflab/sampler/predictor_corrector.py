"""Predictor-corrector sampling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

from torch import Tensor

from difflab.denoiser.base import Denoise
from difflab.process.ranges import Count
from difflab.sampler.ancestral import Ancestral
from difflab.sampler.base import Sampler
from difflab.sampler.langevin import update


@dataclass(frozen=True)
class PredictorCorrector:
    """A step of any other sampler, then `corrections` updates of Langevin dynamics at the new level.

    An update is `x + e score + sqrt(2 e) z` with `e = 2 (snr sigma_s)^2`, and there is none at the data end. Song et
    al. 2021 (arXiv:2011.13456), Algorithms 2-5. There `e = 2 (snr |z| / |score|)^2`, the norms being means over the
    batch: a sample must not depend on those beside it, so here the ratio is the one expected of noise, sigma. The
    factor 1 - beta of Algorithm 5, within 2% of 1, is left out.
    """

    predictor: Sampler = field(default_factory=Ancestral)
    corrections: Count = 1
    snr: float = 0.16
    stochastic: ClassVar[bool] = True
    order: ClassVar[int] = 0  # none: the corrector's bias is that of `snr`, however many the steps

    def __post_init__(self) -> None:
        if self.corrections < 1 or not 0 < self.snr < 1:
            raise ValueError(f"sampler.corrections={self.corrections} must be at least 1, snr={self.snr} in (0, 1)")
        if self.predictor.evaluations is None:
            raise ValueError(
                f"sampler.predictor={self.predictor} makes its own way to the data, and there is nothing to correct: "
                f"choose one that steps over a grid, such as ancestral or ddim"
            )

    @property
    def evaluations(self) -> int:
        """Calls of the denoiser in one step: the predictor's and one for each correction."""
        return cast(int, self.predictor.evaluations) + self.corrections

    def init(self, x: Tensor) -> Any:  # noqa: ANN401  # the predictor's
        """The predictor's state."""
        return self.predictor.init(x)

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
        x, state = self.predictor.step(denoise, x, t, s, state, noise)
        if denoise.schedule(s).sigma > 0:
            for _ in range(self.corrections):
                x = update(denoise, x, s, 2 * self.snr**2, noise)
        return x, state
