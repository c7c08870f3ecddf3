"""Weighted regression of a denoiser's target at random times, and the likelihood of the probability flow."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol, cast

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric

from difflab.denoiser.base import AnyDenoiser, Denoiser, Estimate
from difflab.denoiser.likelihood import BitsPerDim, ContinuousBound, ExactTrace, FlowLikelihood, Hutchinson
from difflab.guidance.base import Unguided
from difflab.objective.coupling import Coupling, Independent
from difflab.objective.draws import Noised
from difflab.objective.times import Times
from difflab.objective.weighting import Likelihood, Weighting
from difflab.paradigm.base import Paradigm
from difflab.paradigm.batch import Batch, unpacked
from difflab.paradigm.defaults import Defaults, Prediction, Sampling
from difflab.paradigm.optimisation import Optimisation
from difflab.process.gaussian import scale
from difflab.process.ranges import Chance, Seed
from difflab.process.schedule import VP, Schedule
from difflab.process.target import Eps, Target
from difflab.sampler.ancestral import Ancestral
from difflab.sampler.base import Sampler
from difflab.sampler.generate import generate

EXACT = 16  # dimensions up to which a trace is exact, by as many backward passes


class Codec(Protocol):
    """What a likelihood has to know of the data's codec."""

    @property
    def levels(self) -> int | None:
        """The number of equidistant values of [-1, 1] that samples lie on; None if they are continuous."""


class Diffusion(Paradigm):
    """Regress the denoiser's target: `E_t w(t) |out - target|^2`, a mean over dimensions.

    Base class of the paradigms that generate; a subclass may define another `loss` and other `likelihoods`.

    - denoiser: a denoiser, or a backbone, of which one is made with `schedule` and `target`;
    - schedule, target, times, weighting, coupling: None takes those of the class, its `defaults`;
    - label_dropout: for classifier-free guidance, Ho & Salimans 2022 (arXiv:2207.12598), Algorithm 1;
    - codec: the data's; None takes images `(C, H, W)` for 8-bit ones and all else for continuous, as version 0.1 did;
    - sampling: how `trainer.predict` draws, by default as the class's `defaults` say. It may be set at any time.

    Raises ValueError for a coupling or a learned variance that has no meaning in the paradigm, and for a schedule or
    target beside a denoiser, which has its own.
    """

    # What an identity leaves out: a denoiser that has its own schedule and target, and what changes no weights.
    as_before: ClassVar[Mapping[str, object]] = {"schedule": None, "target": None}
    outside_identity: ClassVar[Sequence[str]] = ("sampling",)
    defaults: ClassVar[Defaults] = Defaults(VP(), Eps(), Sampling(Ancestral()))

    learns: ClassVar[str] = "denoiser"
    follows_budget: ClassVar[bool] = False
    hint: ClassVar[str] = "difflab-sample run={run} sampler=ddim nfe={nfe}"
    scores: ClassVar[Sequence[str]] = (FlowLikelihood.score, ContinuousBound.score)  # names that `likelihoods` may have

    def __init__(
        self,
        denoiser: nn.Module,
        times: Times | None = None,
        weighting: Weighting | None = None,
        coupling: Coupling | None = None,
        optimisation: Optimisation | None = None,
        batch_size: int | None = None,
        label_dropout: Chance = 0.1,
        seed: Seed = 0,
        codec: Codec | None = None,
        schedule: Schedule | None = None,
        target: Target | None = None,
        sampling: Sampling | None = None,
    ) -> None:
        default = copy.deepcopy(self.defaults)  # schedules and times may be modules that learn
        super().__init__(times or default.times, optimisation, batch_size, seed)
        if not isinstance(denoiser, AnyDenoiser):
            denoiser = Denoiser(denoiser, schedule or default.schedule, target or default.target)
        elif schedule or target:
            raise ValueError(
                f"{type(denoiser).__name__} has a schedule and a target of its own: give {type(self).__name__} the "
                f"backbone alone, or no schedule and no target"
            )
        self.denoiser: AnyDenoiser = denoiser
        self.weighting, self.coupling = weighting or default.weighting, coupling or default.coupling
        self.label_dropout, self.codec = label_dropout, codec
        self.sampling = sampling
        self.measured = nn.ModuleDict()  # on held-out samples, by score
        self.check()

    @property
    def trains_variance(self) -> bool:
        """Whether the loss has a term for the network's learned variance."""
        return False

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

    @property
    def trains_bound(self) -> bool:
        """Whether the loss has a term that is a bound on the likelihood in its mean over uniform times."""
        return isinstance(self.weighting, Likelihood)

    def check_training(self) -> None:
        """Raise ValueError for a bound at times at which its mean is another one."""
        super().check_training()
        if self.trains_bound and not self.times.uniform_mean:
            raise ValueError(
                f"{type(self).__name__} would train no bound: it is the mean over uniform times, and {self.times} are "
                f"not: choose times=uniform, stratified or importance, or weighting=simple or snr and no vlb_weight"
            )

    def loss(self, noised: Noised) -> dict[str, Tensor]:
        """The weighted regression; shape `(B,)`."""
        return {"regression": self.regress(self.denoiser(noised.x_t, noised.t, noised.label), noised)}

    def likelihoods(self, sampler: Sampler | None = None) -> Sequence[BitsPerDim]:
        """The ways to bits/dim: the probability flow's own and, in continuous time, the bound of the reverse SDE.

        Song et al. 2021 (arXiv:2011.13456), eq. 39, by the exact trace for continuous samples of few dimensions, as
        points, and an unbiased one for others; Song et al. 2021b (arXiv:2101.09258), theorem 3, and Huang et al. 2021
        (arXiv:2106.02808). The two are of different models, which agree for the true score alone. The bound is of
        estimates of x0 within [-1, 1] for samples on levels, as they are drawn by default, and as a chain's are in its
        published bound. Where a chain's variance decides, it is that of the `sampler`; None is that of `sampling`.
        """
        few = self.levels is None and math.prod(self.denoiser.shape) <= EXACT
        flow = FlowLikelihood(ExactTrace(), rtol=1e-5, atol=1e-5) if few else FlowLikelihood(Hutchinson())
        return (
            (flow,) if self.denoiser.schedule.discrete else (flow, ContinuousBound(limit=1.0 if self.levels else None))
        )

    def bits_per_dim(self, x0: Tensor, label: Tensor, sampler: Sampler | None = None) -> dict[str, Tensor]:
        """`-log2 p(x0)` per dimension, or upper bounds on it, by their `scores`; each of shape `(B,)`."""
        denoise = self.denoiser.bind(label)
        return {each.score: each(denoise, x0, self.levels) for each in self.likelihoods(sampler)}

    @property
    def levels(self) -> int | None:
        """How many values a number of a sample can have; None if it is continuous."""
        if self.codec is None:
            return 256 if len(self.denoiser.shape) == 3 else None
        return self.codec.levels

    def on_test_epoch_start(self) -> None:
        """Start the mean of the likelihoods, too."""
        super().on_test_epoch_start()
        self.measured = nn.ModuleDict({each.score: MeanMetric("disable") for each in self.likelihoods()}).to(
            self.device
        )

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Add up the likelihoods, too, of denoisers that have one."""
        super().test_step(batch, batch_idx)
        if self.denoiser.has_density:
            x0, label, _ = unpacked(batch, self.denoiser.shape)
            with torch.inference_mode(False), torch.no_grad():  # tensors of inference mode can have no gradients
                bits = self.bits_per_dim(x0.clone(), label.clone())
            for score, value in bits.items():
                cast(MeanMetric, self.measured[score]).update(value)

    def on_test_epoch_end(self) -> None:
        """Log their mean over all held-out samples, too."""
        super().on_test_epoch_end()
        if self.denoiser.has_density:
            for score, mean in self.measured.items():
                self.log(f"{self.split}/{score}", cast(MeanMetric, mean).compute(), sync_dist=True)

    def default_sampling(self) -> Sampling:
        """That of the class. Raises ValueError where it limits x0 to the range of images and samples are continuous."""
        default = self.defaults.sampling
        if self.levels is None and default.range != Unguided():
            raise ValueError(
                f"by default {type(self).__name__} samples with {default.range}, which is for images in [-1, 1], "
                f"and these samples are continuous: choose a range of their own, as model.sampling = "
                f"Sampling(DDIM(), range=Clip(3.0)), or range=Unguided()"
            )
        return default

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Prediction:
        """The samples of a batch of `difflab.data.Labels`, drawn as `sampling` says.

        Raises ValueError for other batches, labels that the denoiser does not know, and a sampling that does not fit.
        """
        k, label = batch[0], batch[1]
        if k.ndim != 1 or k.is_floating_point() or not 0 <= label.min() <= label.max() <= self.denoiser.classes:
            raise ValueError(
                f"samples are drawn for batches of int64 (k, label), with labels in 0..{self.denoiser.classes}, where "
                f"the last is the null label: give trainer.predict a difflab.data.Labels, as Labels(64, range(10))"
            )
        how = self.sampling or self.default_sampling()
        with torch.inference_mode(False):  # guidance may need gradients
            label = label.clone()
            x, nfe = generate(
                how.range(how.guidance(self.denoiser)),
                how.sampler,
                how.grid,
                nfe=how.nfe,
                labels=label,
                indices=k.tolist(),
                seed=how.seed,
                batch_size=len(k),
                device=self.device,
            )
        return Prediction(k, label, x, nfe)

    def regress(self, estimate: Estimate, noised: Noised) -> Tensor:
        """The weighted squared error in the network's own target, mean over dimensions: shape `(B,)`."""
        target, t = self.denoiser.target, noised.t
        error = (estimate.out - target.mix(self.schedule, t)(noised.x0, noised.eps)) ** 2
        return scale(self.weighting(self.schedule, target, t), error.flatten(1).mean(1))
