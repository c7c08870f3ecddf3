"""Weighted regression of a denoiser's target at random times, and the likelihood of the probability flow."""

from __future__ import annotations

import math
from typing import ClassVar, Protocol

from torch import Tensor

from difflab.denoiser.base import AnyDenoiser, Estimate
from difflab.denoiser.likelihood import ExactTrace, Hutchinson, flow_bits_per_dim
from difflab.objective.coupling import Coupling, Independent
from difflab.objective.draws import Noised
from difflab.objective.times import Times
from difflab.objective.weighting import Weighting
from difflab.paradigm.base import Paradigm
from difflab.paradigm.optimisation import Optimisation
from difflab.process.gaussian import scale

EXACT = 16  # dimensions up to which a trace is exact, by as many backward passes


class Codec(Protocol):
    """What a likelihood has to know of the data's codec."""

    @property
    def levels(self) -> int | None:
        """The number of equidistant values of [-1, 1] that samples lie on; None if they are continuous."""


class Diffusion(Paradigm):
    """Regress the denoiser's target: `E_t w(t) |out - target|^2`, a mean over dimensions.

    Base class of the paradigms that generate; a subclass may define another `loss` and `bits_per_dim`.

    `label_dropout` is for classifier-free guidance: Ho & Salimans 2022 (arXiv:2207.12598), Algorithm 1. `codec` is the
    data's; None takes images `(C, H, W)` for 8-bit ones and all else for continuous, as version 0.1 did.
    Raises ValueError for a coupling or a learned variance that has no meaning in the paradigm.
    """

    learns: ClassVar[str] = "denoiser"
    hint: ClassVar[str] = "difflab-sample run={run} sampler=ddim nfe=20"
    likelihood: ClassVar[str] = "bits_per_dim"  # the name of what `bits_per_dim` gives: of the flow
    trains_variance: bool = False  # whether the loss has a term for the network's learned variance

    def __init__(
        self,
        denoiser: AnyDenoiser,
        times: Times,
        weighting: Weighting,
        coupling: Coupling,
        optimisation: Optimisation,
        batch_size: int,
        label_dropout: float = 0.1,
        seed: int = 0,
        codec: Codec | None = None,
    ) -> None:
        super().__init__(times, optimisation, batch_size, seed)
        self.codec = codec
        self.denoiser, self.weighting, self.coupling = denoiser, weighting, coupling
        self.label_dropout = label_dropout
        self.check()

    def check(self) -> None:
        """Raise ValueError for parts that have no meaning together."""
        name = type(self).__name__
        if not self.couples and self.coupling != Independent():
            raise ValueError(
                f"{name} takes its noise to be independent of the data: choose coupling=independent, or "
                f"paradigm=rectified_flow, flow_matching or ot_flow with coupling=optimal_transport"
            )
        if self.denoiser.learned_variance and not self.trains_variance:
            raise ValueError(
                f"{name} has no term that would teach the network a variance: choose backbone.learned_variance=false, "
                f"or paradigm=improved_ddpm, which learns it"
            )

    def loss(self, noised: Noised) -> dict[str, Tensor]:
        """The weighted regression; shape `(B,)`."""
        return {"regression": self.regress(self.denoiser(noised.x_t, noised.t, noised.label), noised)}

    def bits_per_dim(self, x0: Tensor, label: Tensor) -> Tensor:
        """`-log2 p(x0)` per dimension, or an upper bound on it: here of the probability flow; shape `(B,)`.

        Song et al. 2021 (arXiv:2011.13456), eq. 39.
        """
        return self.flow_likelihood(x0, label)

    @property
    def levels(self) -> int | None:
        """How many values a number of a sample can have; None if it is continuous."""
        if self.codec is None:
            return 256 if len(self.denoiser.shape) == 3 else None
        return self.codec.levels

    def flow_likelihood(self, x0: Tensor, label: Tensor) -> Tensor:
        """Bits/dim of the probability flow; `(B,)`.

        By the exact trace for continuous samples of few dimensions, as points, and an unbiased one for others.
        """
        few = self.levels is None and math.prod(self.denoiser.shape) <= EXACT
        trace = ExactTrace() if few else Hutchinson()
        return flow_bits_per_dim(self.denoiser.bind(label), x0, levels=self.levels, trace=trace)

    def regress(self, estimate: Estimate, noised: Noised) -> Tensor:
        """The weighted squared error in the network's own target, mean over dimensions: shape `(B,)`."""
        target, t = self.denoiser.target, noised.t
        error = (estimate.out - target.mix(self.schedule, t)(noised.x0, noised.eps)) ** 2
        return scale(self.weighting(self.schedule, target, t), error.flatten(1).mean(1))
