"""Variational diffusion models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, cast

from torch import Tensor

from difflab.denoiser.likelihood import BitsPerDim, ContinuousBound
from difflab.objective.draws import Noised
from difflab.objective.times import Stratified
from difflab.objective.weighting import Likelihood
from difflab.paradigm.defaults import Defaults, Sampling
from difflab.paradigm.diffusion import Diffusion
from difflab.process.gaussian import scale
from difflab.process.learned import LearnedSchedule
from difflab.process.target import Eps
from difflab.sampler.ancestral import Ancestral
from difflab.sampler.base import Sampler
from difflab.sampler.grid import Uniform


class VDM(Diffusion):
    """The continuous-time bound, on a noise schedule that learns to lower the bound's variance.

    `1/2 E_t[-log_snr'(t) |eps - eps_hat|^2]`, which `weighting=likelihood` says: Kingma et al. 2021 (arXiv:2107.00630),
    eq. 17. The bound itself does not depend on the schedule between its ends; the variance of its estimate does, and
    the schedule follows the gradient of the squared loss: their appendix H. Times that are drawn more often than others
    and weighted back, as `Importance`, are an estimate with another variance, of which the weight is a part.
    Their schedule learns its two ends by the bound itself; here the ends are fixed.
    """

    defaults: ClassVar[Defaults] = Defaults(
        LearnedSchedule(hidden=1024),
        Eps(),
        Sampling(Ancestral(), Uniform(), nfe=1000),
        times=Stratified(),
        weighting=Likelihood(),
    )
    follows_budget: ClassVar[bool] = False
    scores: ClassVar[Sequence[str]] = (ContinuousBound.score,)

    def check(self) -> None:
        """Raise ValueError for parts that have no meaning together."""
        super().check()
        if not isinstance(self.denoiser.schedule, LearnedSchedule):
            raise ValueError(
                "VDM learns its schedule: choose schedule=learned; "
                "paradigm=vp_sde weighting=likelihood has the same bound on a fixed one"
            )

    def loss(self, noised: Noised) -> dict[str, Tensor]:
        """The bound's diffusion part in nats/dim; shape `(B,)`."""
        loss = self.regress(self.denoiser(noised.x_t, noised.t, noised.label), noised)
        cast(LearnedSchedule, self.denoiser.schedule).square(scale(noised.weight, loss))
        return {"diffusion": loss}

    def likelihoods(self, sampler: Sampler | None = None) -> Sequence[BitsPerDim]:
        """The continuous-time bound, decoded as in the paper."""
        return (ContinuousBound(),)
