"""Denoising diffusion probabilistic models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn
from typing_extensions import override

from difflab.denoiser.likelihood import BitsPerDim, ChainBound, vlb_term
from difflab.guidance.clip import Clip
from difflab.objective.coupling import Coupling
from difflab.objective.draws import Draws, Noised, One
from difflab.objective.times import Times
from difflab.objective.weighting import Weighting
from difflab.paradigm.defaults import Defaults, Sampling
from difflab.paradigm.diffusion import Codec, Diffusion
from difflab.paradigm.optimisation import Optimisation
from difflab.process.discrete import CosineBetas, LinearBetas
from difflab.process.ranges import Chance, Seed, Size
from difflab.process.schedule import Schedule
from difflab.process.target import Eps, Target
from difflab.sampler.ancestral import Ancestral
from difflab.sampler.base import Sampler
from difflab.sampler.ddim import DDIM
from difflab.sampler.grid import Linspace, Uniform


class DDPM(Diffusion):
    """Denoising diffusion in discrete time, with a fixed or a learned variance.

    Ho et al. 2020 (arXiv:2006.11239), Algorithm 1. With `vlb_weight` the hybrid loss, whose bound learns the variance
    and leaves the mean alone: Nichol & Dhariwal 2021 (arXiv:2102.09672), eq. 16, whose weight is 0.001 T on a bound in
    bits/dim. With `simple_weight=0` the bound alone, which learns both: their L_vlb. `vlb_weight=None` is `hybrid * T`.

    `decoder_v` is the variance that bits/dim decode x_1 with, between the clipped posterior variance (0), as Ho et
    al.'s and Nichol & Dhariwal's published numbers have it, and beta_1 (1). None is the learned one where the chain's
    is learned, else 0 for samples on levels, and 1 for continuous ones, whose density the clipped one does not reach.
    """

    defaults: ClassVar[Defaults] = Defaults(
        LinearBetas(T=1000), Eps(), Sampling(Ancestral(v=1.0), Uniform(), nfe=1000, range=Clip())
    )
    follows_budget: ClassVar[bool] = False
    hybrid: ClassVar[float] = 0.0  # the default weight of the whole bound, of T terms
    scores: ClassVar[Sequence[str]] = (ChainBound.score,)
    outside_identity: ClassVar[Sequence[str]] = (*Diffusion.outside_identity, "decoder_v")

    def __init__(
        self,
        denoiser: nn.Module,
        times: Times | None = None,
        weighting: Weighting | None = None,
        coupling: Coupling | None = None,
        optimisation: Optimisation | None = None,
        batch_size: int | None = None,
        draws: Draws | None = None,
        label_dropout: Chance = 0.1,
        simple_weight: Size = 1.0,
        vlb_weight: Size | None = None,
        seed: Seed = 0,
        codec: Codec | None = None,
        schedule: Schedule | None = None,
        target: Target | None = None,
        sampling: Sampling | None = None,
        decoder_v: Chance | None = None,
    ) -> None:
        self.decoder_v = decoder_v
        self.draws, self.simple_weight, self.given_vlb_weight = draws or One(), simple_weight, vlb_weight
        super().__init__(
            denoiser,
            times,
            weighting,
            coupling,
            optimisation,
            batch_size,
            label_dropout,
            seed,
            codec,
            schedule,
            target,
            sampling,
        )

    @property
    def vlb_weight(self) -> float:
        """The weight of a term of the bound."""
        if self.given_vlb_weight is not None:
            return self.given_vlb_weight
        return self.hybrid * self.denoiser.schedule.t_max / self.denoiser.schedule.step

    @property
    @override
    def trains_variance(self) -> bool:
        return self.vlb_weight > 0

    @property
    @override
    def trains_bound(self) -> bool:
        return super().trains_bound or self.vlb_weight > 0

    def check(self) -> None:
        """Raise ValueError for parts that have no meaning together."""
        super().check()
        if self.given_batch_size is not None:
            self.draws.check(self.denoiser.schedule, self.given_batch_size)
        if not self.simple_weight and not self.vlb_weight:
            raise ValueError("model.simple_weight=0 and model.vlb_weight=0 leave no loss: give one of them")
        if self.simple_weight and self.vlb_weight and not self.denoiser.learned_variance:
            raise ValueError(
                "beside the simple loss the bound teaches a variance alone: choose backbone.learned_variance=true, as "
                "paradigm=improved_ddpm does, or model.simple_weight=0"
            )

    def on_train_start(self) -> None:
        """Raise ValueError if the draws cannot make their terms of the batches of the data."""
        self.draws.check(self.denoiser.schedule, self.batch_size)

    def corrupt(
        self,
        x0: Tensor,
        label: Tensor,
        dropout: float,
        *key: int,
        eps: Tensor | None = None,
        progress: float = 1.0,
    ) -> Noised:
        """Noise a batch, by as many draws as the estimator takes."""
        noised = super().corrupt(x0, label, dropout, *key, eps=eps, progress=progress)
        return self.draws(self.denoiser.schedule, noised, lambda like, k: self.normal(like, *key, k))

    def loss(self, noised: Noised) -> dict[str, Tensor]:
        """The simple loss and the bound's term, as far as each has weight; each of shape `(B,)`."""
        estimate = self.denoiser(noised.x_t, noised.t, noised.label)
        terms = {}
        if self.simple_weight:
            terms["simple"] = self.simple_weight * self.regress(estimate, noised)
            estimate = estimate._replace(x0=estimate.x0.detach(), eps=estimate.eps.detach())
        if self.vlb_weight:
            v = None if self.denoiser.learned_variance else 0.0
            bound = vlb_term(
                self.denoiser.schedule, estimate, noised.x0, noised.eps, noised.t, v=v, decoder_v=v, levels=self.levels
            )
            terms["vlb"] = self.vlb_weight * bound
        return terms

    def likelihoods(self, sampler: Sampler | None = None) -> Sequence[BitsPerDim]:
        """The variational bound `L_T + sum of L_t + L_0` of the chain that the sampler draws.

        Its variance is that of an `Ancestral` sampler, and the posterior's of DDIM with eta = 1, which is the same
        chain; a sampler that draws no chain is measured by the variance of `sampling`, or else of the class's paper.
        """
        own = [sampling.sampler for sampling in (self.sampling, self.defaults.sampling) if sampling]
        v = next(chain.v for chain in map(chain_of, (sampler, *own)) if chain)
        if v is None and not self.denoiser.learned_variance:
            v = 0.0  # which the loss took, too
        decoder_v = self.decoder_v
        if decoder_v is None and v is not None:
            decoder_v = 1.0 if self.levels is None else 0.0
        return (ChainBound(v, decoder_v, None if self.levels is None else 1.0),)


def chain_of(sampler: Sampler | None) -> Ancestral | None:
    """The ancestral sampler of the chain that a sampler draws; None if it draws none."""
    if sampler == DDIM(eta=1.0):
        return Ancestral(v=0.0)
    return sampler if isinstance(sampler, Ancestral) and sampler.noise == 1 else None


class ImprovedDDPM(DDPM):
    """DDPM with a learned variance, by the hybrid loss. Nichol & Dhariwal 2021 (arXiv:2102.09672)."""

    defaults: ClassVar[Defaults] = Defaults(
        CosineBetas(T=4000), Eps(), Sampling(Ancestral(v=None), Linspace(), nfe=100, range=Clip())
    )
    hybrid: ClassVar[float] = 0.001
