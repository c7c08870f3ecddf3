"""Hierarchical variational autoencoders: the way from the VAE to diffusion."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from difflab.denoiser.encoder import LearnedEncoder
from difflab.denoiser.hierarchical import HierarchicalAutoencoder, HierarchicalBound
from difflab.denoiser.likelihood import BitsPerDim
from difflab.objective.draws import Noised
from difflab.objective.times import Times
from difflab.paradigm.defaults import Defaults, Sampling
from difflab.paradigm.diffusion import Codec, Diffusion
from difflab.paradigm.group_sums import GroupSums
from difflab.paradigm.optimisation import Optimisation
from difflab.process.discrete import CosineBetas
from difflab.process.ranges import Chance, Seed
from difflab.process.target import V
from difflab.sampler.ancestral import Ancestral
from difflab.sampler.base import Sampler


class HierarchicalVAE(Diffusion):
    """`-ELBO = E_q[-log p(x0 | x_1)] + sum of the KL of x_1 .. x_T`, in bits/dim, with one chain for each sample.

    The Markov hierarchical VAE of Luo 2022 (arXiv:2208.11970). Where the encoder is fixed it is DDPM with its bound, Ho
    et al. 2020 (arXiv:2006.11239), eq. 5, and a variance that is learned for each step. The first argument is a
    `HierarchicalAutoencoder`, or a backbone: then that is the decoder and a copy of it the learned encoder, each of
    them one network for all layers.

    The reconstruction and the KL of each layer are logged, in training and of held-out samples. Every step takes all
    layers, also with a fixed encoder, of which DDPM takes one at random, so the training times have no effect.
    """

    defaults: ClassVar[Defaults] = Defaults(CosineBetas(T=8), V(), Sampling(Ancestral(v=None), nfe=8))
    follows_budget: ClassVar[bool] = False
    at_times: ClassVar[bool] = False
    hint: ClassVar[str] = "difflab-sample run={run} n=100"
    scores: ClassVar[Sequence[str]] = (HierarchicalBound.score,)
    denoiser: HierarchicalAutoencoder

    def __init__(
        self,
        denoiser: nn.Module,
        times: Times | None = None,
        optimisation: Optimisation | None = None,
        batch_size: int | None = None,
        label_dropout: Chance = 0.0,
        seed: Seed = 0,
        codec: Codec | None = None,
        sampling: Sampling | None = None,
    ) -> None:
        if not hasattr(denoiser, "schedule"):  # a backbone
            schedule, target = self.defaults.schedule, self.defaults.target
            encoder = LearnedEncoder(copy.deepcopy(denoiser), schedule)
            denoiser = HierarchicalAutoencoder(denoiser, schedule, target, encoder)
        super().__init__(
            denoiser, times, None, None, optimisation, batch_size, label_dropout, seed, codec, sampling=sampling
        )
        self.by_term = GroupSums()

    @property
    @override
    def trains_variance(self) -> bool:
        return True

    def check(self) -> None:
        """Raise ValueError also for a denoiser without an encoder."""
        super().check()
        if not isinstance(self.denoiser, HierarchicalAutoencoder):
            raise ValueError(
                f"HierarchicalVAE trains the layers of an encoder and a decoder, and {type(self.denoiser).__name__} "
                f"has none: choose denoiser=hierarchical_vae"
            )

    def corrupt(
        self,
        x0: Tensor,
        label: Tensor,
        dropout: float,
        *key: int,
        eps: Tensor | None = None,
        progress: float = 1.0,
    ) -> Noised:
        """Noise a batch, and draw the noise of every layer; that of the first is the sample's."""
        noised = super().corrupt(x0, label, dropout, *key, eps=eps, progress=progress)
        more = [self.normal(x0, *key, k) for k in range(1, self.denoiser.T)]
        return noised._replace(layers=torch.stack([noised.eps, *more]))

    def loss(self, noised: Noised) -> dict[str, Tensor]:
        """The reconstruction and the KL of each layer, each of shape `(B,)`."""
        assert noised.layers is not None, "the noise of the layers is drawn by `corrupt`"
        elbo = self.denoiser.elbo(noised.x0, noised.layers, noised.label, self.levels)
        parts = torch.cat([elbo.reconstruction[:, None], elbo.kl], 1) / (math.prod(self.denoiser.shape) * math.log(2))
        return dict(zip(self.terms, parts.unbind(1), strict=True))

    @property
    def terms(self) -> list[str]:
        """The names of the terms of the loss."""
        return ["reconstruction", *(f"kl_layer_{k}" for k in range(1, self.denoiser.T + 1))]

    def held_out_loss(self, noised: Noised) -> dict[str, Tensor]:
        """The same; and sum each term."""
        losses = self.loss(noised)
        for k, term in enumerate(losses.values()):
            self.by_term.update(term, k)
        return losses

    def on_validation_epoch_start(self) -> None:
        """Start the sums of the terms, too."""
        super().on_validation_epoch_start()
        self.by_term.reset()

    def on_validation_epoch_end(self) -> None:
        """Log the means of the terms, too."""
        super().on_validation_epoch_end()
        for name, (total, n) in zip(self.terms, self.by_term.compute().tolist(), strict=True):
            self.log(f"{self.split}/{name}", total / n, sync_dist=True)

    def likelihoods(self, sampler: Sampler | None = None) -> Sequence[BitsPerDim]:
        """The evidence lower bound, which does not depend on the sampler."""
        return (HierarchicalBound(),)
