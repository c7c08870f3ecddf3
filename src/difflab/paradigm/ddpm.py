"""Denoising diffusion probabilistic models."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from typing_extensions import override

from difflab.denoiser.likelihood import variational_bits_per_dim, vlb_term
from difflab.guidance.clip import Clip
from difflab.objective.coupling import Coupling
from difflab.objective.draws import Draws, Noised, One
from difflab.objective.times import Times
from difflab.objective.weighting import Weighting
from difflab.paradigm.defaults import Defaults, Sampling
from difflab.paradigm.diffusion import Codec, Diffusion
from difflab.paradigm.optimisation import Optimisation
from difflab.process.discrete import CosineBetas, LinearBetas
from difflab.process.schedule import Schedule
from difflab.process.target import Eps, Target
from difflab.sampler.ancestral import Ancestral
from difflab.sampler.grid import Linspace, Uniform


class DDPM(Diffusion):
    """Denoising diffusion in discrete time, with a fixed or a learned variance.

    Ho et al. 2020 (arXiv:2006.11239), Algorithm 1. With `vlb_weight` the hybrid loss, whose bound learns the variance
    and leaves the mean alone: Nichol & Dhariwal 2021 (arXiv:2102.09672), eq. 16, whose weight is 0.001 T on a bound in
    bits/dim. With `simple_weight=0` the bound alone, which learns both: their L_vlb. `vlb_weight=None` is `hybrid * T`.
    """

    defaults: ClassVar[Defaults] = Defaults(
        LinearBetas(T=1000), Eps(), Sampling(Ancestral(v=1.0), Uniform(), nfe=1000, range=Clip())
    )
    hybrid: ClassVar[float] = 0.0  # the default weight of the whole bound, of T terms
    likelihood: ClassVar[str] = "bits_per_dim_bound"

    def __init__(
        self,
        denoiser: nn.Module,
        times: Times | None = None,
        weighting: Weighting | None = None,
        coupling: Coupling | None = None,
        optimisation: Optimisation | None = None,
        batch_size: int | None = None,
        draws: Draws | None = None,
        label_dropout: float = 0.1,
        simple_weight: float = 1.0,
        vlb_weight: float | None = None,
        seed: int = 0,
        codec: Codec | None = None,
        schedule: Schedule | None = None,
        target: Target | None = None,
        sampling: Sampling | None = None,
    ) -> None:
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
            bound = vlb_term(self.denoiser.schedule, estimate, noised.x0, noised.eps, noised.t, levels=self.levels)
            terms["vlb"] = self.vlb_weight * bound
        return terms

    def bits_per_dim(self, x0: Tensor, label: Tensor) -> Tensor:
        """The exact variational bound `L_T + sum of L_t + L_0`, a variance that was not learned being beta; `(B,)`."""
        return variational_bits_per_dim(self.denoiser.bind(label), x0, v=1.0, levels=self.levels).total


class ImprovedDDPM(DDPM):
    """DDPM with a learned variance, by the hybrid loss. Nichol & Dhariwal 2021 (arXiv:2102.09672)."""

    defaults: ClassVar[Defaults] = Defaults(
        CosineBetas(T=4000), Eps(), Sampling(Ancestral(v=None), Linspace(), nfe=100, range=Clip())
    )
    hybrid: ClassVar[float] = 0.001
