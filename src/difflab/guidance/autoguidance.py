"""Guidance by a weaker version of the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from difflab.denoiser.base import AnyDenoiser, Estimate
from difflab.denoiser.rescheduled import Rescheduled
from difflab.guidance.base import Guided
from difflab.guidance.classifier_free import extrapolate


@dataclass(frozen=True)
class Autoguidance:
    """`weak + scale (strong - weak)`, where `weak` is a denoiser trained less, or with a smaller network.

    Karras et al. 2024 (arXiv:2406.02507), eq. 3 with `scale` for w, which needs no labels. `weak` is loaded when the
    guidance is applied, and may have been trained with another target and on another schedule. It takes an evaluation
    of each. Raises ValueError for a weak denoiser of other samples or other classes; it may have none.
    """

    weak: Callable[[], AnyDenoiser]
    scale: float = 2.0

    def __call__(self, denoiser: AnyDenoiser) -> AnyDenoiser:
        """The guided denoiser; at scale 1 the denoiser itself."""
        return denoiser if self.scale == 1 else Autoguided(denoiser, self.weak(), self.scale)


class Autoguided(Guided):
    """A denoiser that goes beyond what it has over a weaker one."""

    def __init__(self, denoiser: AnyDenoiser, weak: AnyDenoiser, scale: float) -> None:
        super().__init__(denoiser)
        if not isinstance(weak, AnyDenoiser):
            raise ValueError(
                f"guidance=autoguidance needs a weak run that generates, and this is a {type(weak).__name__.lower()}"
            )
        if weak.shape != denoiser.shape or weak.classes not in (0, denoiser.classes):
            raise ValueError(
                f"guidance=autoguidance needs a weak run of samples of shape {denoiser.shape} and of "
                f"{denoiser.classes} classes or none, not {weak.shape} and {weak.classes}"
            )
        same = weak.schedule == denoiser.schedule
        self.weak = (weak if same else Rescheduled(weak, denoiser.schedule)).to(denoiser.device)
        self.scale = scale

    @override
    def nfe(self, t: Tensor) -> int:
        return self.denoiser.nfe(t) + self.weak.nfe(t)

    def forward(self, x: Tensor, t: Tensor, label: Tensor, s: Tensor | None = None) -> Estimate:
        """Estimate from samples `(B, *)` at times `()` or `(B,)` and labels `(B,)`; `s` as in `Denoise`."""
        strong: Estimate = self.denoiser(x, t, label, s)
        weak: Estimate = self.weak(x, t, label if self.weak.classes else torch.zeros_like(label), s)
        out = self.target.mix(self.schedule, t)(weak.x0, weak.eps)  # in the target of the strong one
        return extrapolate(weak._replace(out=out), strong, self.scale)
