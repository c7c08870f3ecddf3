"""Score-based models: denoising score matching at the noise levels of an SDE, or of a discrete sequence of levels.

Each is the regression of `Diffusion`; what differs is the schedule, the target, the times and the weighting. The noise
levels of papers whose images lie in [0, 1] are doubled, for [-1, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from difflab.denoiser.likelihood import FlowLikelihood
from difflab.objective.times import LogNormal
from difflab.objective.weighting import EDM as EDMWeighting
from difflab.paradigm.defaults import Defaults, Sampling
from difflab.paradigm.diffusion import Diffusion
from difflab.process.discrete import GeometricSigmas
from difflab.process.schedule import EDM as SigmaTime
from difflab.process.schedule import VE, VP, SubVP
from difflab.process.target import Eps, Preconditioned
from difflab.sampler.edm import EDM as EDMSampler
from difflab.sampler.euler_maruyama import EulerMaruyama
from difflab.sampler.grid import Karras, Uniform
from difflab.sampler.langevin import Langevin
from difflab.sampler.predictor_corrector import PredictorCorrector
from difflab.sampler.reverse_diffusion import ReverseDiffusion


class NCSN(Diffusion):
    """Noise-conditional score network on a geometric sequence of noise levels.

    Song & Ermon 2019 (arXiv:1907.05600), eq. 6, whose weight `lambda = sigma^2` on the score is 1 on eps; 2020
    (arXiv:2006.09011). The defaults are those of 2019: 10 levels, and 100 updates at each with epsilon = 2e-5.
    """

    defaults: ClassVar[Defaults] = Defaults(
        GeometricSigmas(T=10, sigma_min=0.02, sigma_max=2.0),
        Eps(),
        Sampling(Langevin(corrections=100, step_size=0.1), Uniform(), nfe=901),  # none at the first, one for the data
    )
    scores: ClassVar[Sequence[str]] = (FlowLikelihood.score,)  # its levels have neither a chain nor continuous time


class VESDE(Diffusion):
    """Variance exploding SDE. Song et al. 2021 (arXiv:2011.13456), eqs. 7 and 30; the weight is 1 on eps."""

    defaults: ClassVar[Defaults] = Defaults(
        VE(sigma_min=0.02, sigma_max=100.0),
        Eps(),
        Sampling(PredictorCorrector(ReverseDiffusion(), snr=0.16), Uniform(), nfe=1999),  # 1000 steps
    )


class VPSDE(Diffusion):
    """Variance preserving SDE. Song et al. 2021 (arXiv:2011.13456), eqs. 7 and 32; the weight is 1 on eps.

    `weighting=likelihood` bounds the likelihood: Song et al. 2021b (arXiv:2101.09258).
    """

    defaults: ClassVar[Defaults] = Defaults(VP(), Eps(), Sampling(EulerMaruyama(), Uniform(), nfe=1000))


class SubVPSDE(Diffusion):
    """Sub-variance preserving SDE. Song et al. 2021 (arXiv:2011.13456), eqs. 7 and 29; the weight is 1 on eps."""

    defaults: ClassVar[Defaults] = Defaults(SubVP(), Eps(), Sampling(EulerMaruyama(), Uniform(), nfe=1000))


class EDM(Diffusion):
    """Preconditioned denoiser of Karras et al. 2022 (arXiv:2206.00364), eq. 108: their target, times and weighting.

    The defaults are those of CIFAR-10, with 18 steps of Heun's method.
    """

    defaults: ClassVar[Defaults] = Defaults(
        SigmaTime(),
        Preconditioned(sigma_data=0.5),
        Sampling(EDMSampler(), Karras(), nfe=35),
        times=LogNormal(mean=-1.2, std=1.2),
        weighting=EDMWeighting(sigma_data=0.5),
    )
