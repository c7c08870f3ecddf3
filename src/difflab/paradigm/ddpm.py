"""Denoising diffusion probabilistic models."""

from __future__ import annotations

from torch import Tensor

from difflab.denoiser import Denoiser
from difflab.likelihood import variational_bits_per_dim, vlb_term
from difflab.paradigm.base import Diffusion, Noised, Optimisation
from difflab.times import Times
from difflab.weighting import Weighting


class DDPM(Diffusion):
    """Denoising diffusion in discrete time.

    Ho et al. 2020 (arXiv:2006.11239), Algorithm 1; with `vlb_weight` the hybrid loss that learns the variance:
    Nichol & Dhariwal 2021 (arXiv:2102.09672), eq. 16, whose weight is 0.001 T on a bound in bits/dim.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        times: Times,
        weighting: Weighting,
        optimisation: Optimisation,
        batch_size: int,
        label_dropout: float = 0.1,
        vlb_weight: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(denoiser, times, weighting, optimisation, batch_size, label_dropout, seed)
        self.vlb_weight = vlb_weight

    def loss(self, x0: Tensor, noised: Noised) -> dict[str, Tensor]:
        """The simple loss, and the bound's term as far as it teaches the variance; each of shape `(B,)`."""
        estimate = self.denoiser(noised.x_t, noised.t, noised.label)
        terms = {"simple": self.regress(estimate, x0, noised)}
        if self.vlb_weight:
            frozen = estimate._replace(x0=estimate.x0.detach(), eps=estimate.eps.detach())
            bound = vlb_term(self.denoiser.schedule, frozen, x0, noised.eps, noised.t)
            terms["vlb"] = self.vlb_weight * bound
        return terms

    def bits_per_dim(self, x0: Tensor, label: Tensor) -> Tensor:
        """The exact variational bound `L_T + sum of L_t + L_0`; shape `(B,)`."""
        return variational_bits_per_dim(self.denoiser.bind(label), x0).total
