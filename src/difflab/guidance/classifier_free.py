"""Classifier-free guidance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from difflab.denoiser.base import AnyDenoiser, Estimate
from difflab.guidance.base import Guided
from difflab.process.ranges import Real


@dataclass(frozen=True)
class ClassifierFree:
    """`u + scale (c - u)`, from the estimates `c` of the asked class and `u` of the null label, in one batch of 2B.

    With exact estimates, the score of `p(x_t)^(1 - scale) p(x_t | y)^scale`. Ho & Salimans 2022 (arXiv:2207.12598),
    eq. 6. `scale = 1` is no guidance, 0 is no condition. Others' numbers::

        scale = 1 + w       the w of Ho & Salimans
        scale = gamma       Imagen's w, diffusers' guidance_scale, EDM2's guidance, DiT's cfg-scale

    It takes two evaluations. The null label means something only where it was trained: `model.label_dropout` above 0.
    Raises ValueError for a denoiser without classes, and for one whose guidance was trained.
    """

    scale: Real = 2.0

    def __call__(self, denoiser: AnyDenoiser) -> AnyDenoiser:
        """The guided denoiser; at scale 1 the denoiser itself."""
        if denoiser.classes == 0:
            raise ValueError(
                "guidance=classifier_free needs a run with classes, and this one has none: choose "
                "guidance=autoguidance, or train on labelled data"
            )
        if denoiser.guidance_learned and self.scale != 1:
            raise ValueError(
                "guidance=classifier_free would guide this run twice, which was trained with drive=guided: leave the "
                "guidance out, or train a run with drive=data"
            )
        return denoiser if self.scale == 1 else Conditioned(denoiser, self.scale)


class Conditioned(Guided):
    """A denoiser that goes beyond what the label adds."""

    def __init__(self, denoiser: AnyDenoiser, scale: float) -> None:
        super().__init__(denoiser)
        self.scale = scale

    @override
    def nfe(self, t: Tensor) -> int:
        return 2 * self.denoiser.nfe(t)

    def forward(self, x: Tensor, t: Tensor, label: Tensor, s: Tensor | None = None) -> Estimate:
        """Estimate from samples `(B, *)` at times `()` or `(B,)` and labels `(B,)`; `s` as in `Denoise`."""
        n, null = len(x), torch.full_like(label, self.classes)
        both: Estimate = self.denoiser(
            torch.cat([x, x]), twice(t), torch.cat([label, null]), None if s is None else twice(s)
        )
        return extrapolate(rows(both, slice(n, None)), rows(both, slice(n)), self.scale)


def twice(t: Tensor) -> Tensor:
    """The times `()` or `(B,)` of a batch that is stacked on itself: `()` or `(2B,)`."""
    return torch.cat([t, t]) if t.ndim else t


def rows(estimate: Estimate, index: slice) -> Estimate:
    """The estimate of some samples of the batch."""
    return Estimate._make(part if part is None else part[index] for part in estimate)


def extrapolate(weak: Estimate, strong: Estimate, scale: float) -> Estimate:
    """`weak + scale (strong - weak)`: an affine combination, so `x_t` is still the mix of `x0` and `eps`."""
    x0, eps, out = (torch.lerp(w, s, scale) for w, s in zip(weak[:3], strong[:3], strict=True))
    unguided = strong.out if strong.unguided is None else strong.unguided
    return strong._replace(x0=x0, eps=eps, out=out, unguided=unguided)
