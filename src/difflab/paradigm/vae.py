"""Variational autoencoders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from difflab.denoiser.generator import ElboBound, VariationalAutoencoder
from difflab.denoiser.likelihood import BitsPerDim
from difflab.objective.draws import Noised
from difflab.objective.times import Times
from difflab.paradigm.defaults import Defaults, Sampling
from difflab.paradigm.diffusion import Codec, Diffusion
from difflab.paradigm.optimisation import Optimisation
from difflab.process.ranges import Chance, Seed, Size
from difflab.process.schedule import Linear
from difflab.process.target import X0
from difflab.sampler.base import Sampler
from difflab.sampler.ddim import DDIM


class VAE(Diffusion):
    """`E_q[-log p(x | z)] + beta KL(q(z | x) || N(0, I))`, in nats/dim, with one draw of `z` for each sample.

    Kingma & Welling 2014 (arXiv:1312.6114), eq. 3; `beta` other than 1 is that of Higgins et al. 2017 (ICLR), and then
    no bound is trained. Both terms are logged. The first argument is an autoencoder, as `difflab.backbone.Autoencoder`,
    or a `VariationalAutoencoder` made of one.
    """

    defaults: ClassVar[Defaults] = Defaults(Linear(), X0(), Sampling(DDIM(), nfe=1))
    follows_budget: ClassVar[bool] = False
    at_times: ClassVar[bool] = False
    hint: ClassVar[str] = "difflab-sample run={run} n=100"
    scores: ClassVar[Sequence[str]] = (ElboBound.score,)
    denoiser: VariationalAutoencoder

    def __init__(
        self,
        denoiser: nn.Module,
        beta: Size = 1.0,
        times: Times | None = None,
        optimisation: Optimisation | None = None,
        batch_size: int | None = None,
        label_dropout: Chance = 0.0,
        seed: Seed = 0,
        codec: Codec | None = None,
        sampling: Sampling | None = None,
    ) -> None:
        if not hasattr(denoiser, "schedule"):  # a backbone
            denoiser = VariationalAutoencoder(denoiser)
        if not beta >= 0:
            raise ValueError(f"model.beta={beta} must be 0 or more: 1 trains the bound")
        self.beta = beta
        super().__init__(
            denoiser, times, None, None, optimisation, batch_size, label_dropout, seed, codec, sampling=sampling
        )

    def check(self) -> None:
        """Raise ValueError also for a denoiser without an encoder."""
        super().check()
        if not isinstance(self.denoiser, VariationalAutoencoder):
            raise ValueError(
                f"VAE trains an encoder, and {type(self.denoiser).__name__} has none: choose denoiser=vae "
                f"backbone=autoencoder for images, denoiser=vae backbone=autoencoder_mlp for points"
            )

    def loss(self, noised: Noised) -> dict[str, Tensor]:
        """The two terms in nats/dim, each of shape `(B,)`."""
        elbo, n = self.denoiser.elbo(noised.x0, noised.eps, noised.label, self.levels), math.prod(self.denoiser.shape)
        return {"reconstruction": elbo.reconstruction / n, "kl": self.beta * elbo.kl / n}

    def likelihoods(self, sampler: Sampler | None = None) -> Sequence[BitsPerDim]:
        """The evidence lower bound."""
        return (ElboBound(),)
