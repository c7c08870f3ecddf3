"""Give guided outputs back the spread of unguided ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from difflab.denoiser.base import AnyDenoiser, Estimate
from difflab.guidance.base import Guided
from difflab.process.gaussian import scale, unmix


@dataclass(frozen=True)
class Rescale:
    """`out (phi std(unguided) / std(out) + 1 - phi)`, the network's output and each sample's standard deviation.

    Lin et al. 2024 (arXiv:2305.08891), eqs. 14-16, who take phi = 0.7. It comes after the guidance in the list, and
    changes nothing where that is off. Raises ValueError for phi outside [0, 1].
    """

    limits: ClassVar[bool] = True  # the guidances before it
    phi: float = 0.7

    def __post_init__(self) -> None:
        if not 0 <= self.phi <= 1:
            raise ValueError(f"guidance.rescale.phi={self.phi} must lie in [0, 1]: 0 is off, 1 is the unguided spread")

    def __call__(self, denoiser: AnyDenoiser) -> AnyDenoiser:
        """The rescaled denoiser; at phi 0 the denoiser itself."""
        return denoiser if self.phi == 0 else Rescaled(denoiser, self.phi)


class Rescaled(Guided):
    """A denoiser whose guided outputs spread as if they were not guided."""

    def __init__(self, denoiser: AnyDenoiser, phi: float) -> None:
        super().__init__(denoiser)
        self.phi = phi

    def forward(self, x: Tensor, t: Tensor, label: Tensor, s: Tensor | None = None) -> Estimate:
        """Estimate from samples `(B, *)` at times `()` or `(B,)` and labels `(B,)`; `s` as in `Denoise`."""
        estimate: Estimate = self.denoiser(x, t, label, s)
        if estimate.unguided is None:
            return estimate
        was, now = (part.flatten(1).std(1, correction=0) for part in (estimate.unguided, estimate.out))
        ratio = torch.where(now > 0, was / now, 1.0)  # an untrained network may say zero everywhere
        out = scale(1 + self.phi * (ratio - 1), estimate.out)
        x0, eps = unmix(x, self.schedule(t), out, self.target.mix(self.schedule, t))
        return estimate._replace(x0=x0, eps=eps, out=out)
