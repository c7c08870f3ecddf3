"""Score-based models: denoising score matching at the noise levels of an SDE, or of a discrete sequence of levels.

Each is the regression of `Diffusion`; what differs is the schedule, the target, the times and the weighting, which the
preset of the same name in `conf/paradigm` chooses.
"""

from __future__ import annotations

from difflab.paradigm.diffusion import Diffusion


class NCSN(Diffusion):
    """Noise-conditional score network on a geometric sequence of noise levels.

    Song & Ermon 2019 (arXiv:1907.05600), eq. 6, whose weight `lambda = sigma^2` on the score is 1 on eps; 2020
    (arXiv:2006.09011).
    """


class VESDE(Diffusion):
    """Variance exploding SDE. Song et al. 2021 (arXiv:2011.13456), eqs. 7 and 30; the weight is 1 on eps."""


class VPSDE(Diffusion):
    """Variance preserving SDE. Song et al. 2021 (arXiv:2011.13456), eqs. 7 and 32; the weight is 1 on eps.

    `weighting=likelihood` bounds the likelihood: Song et al. 2021b (arXiv:2101.09258).
    """


class SubVPSDE(Diffusion):
    """Sub-variance preserving SDE. Song et al. 2021 (arXiv:2011.13456), eqs. 7 and 29; the weight is 1 on eps."""


class EDM(Diffusion):
    """Preconditioned denoiser of Karras et al. 2022 (arXiv:2206.00364), eq. 108: their target, times and weighting."""
