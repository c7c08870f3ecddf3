"""Loss weights by noise level, each stated on the target where it is simplest and carried to any other.

At one `x_t` a squared error in target a is `(det_a / det_b)^2` times the error in target b.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from difflab.process.gaussian import det
from difflab.process.ranges import Positive, Real
from difflab.process.schedule import Schedule
from difflab.process.target import X0, Eps, PosteriorMean, Target
from difflab.process.target import Preconditioned as EDMTarget


class Weighting(Protocol):
    """A weight for the squared error of the network's own target."""

    def __call__(self, schedule: Schedule, target: Target, t: Tensor) -> Tensor:
        """The weight at the times `t`, of their shape."""


def error_ratio(schedule: Schedule, t: Tensor, a: Target, b: Target) -> Tensor:
    """The squared error in target `a` that a unit squared error in target `b` means: `(det_a / det_b)^2`."""
    m = schedule(t)
    return (det(m, a.mix(schedule, t)) / det(m, b.mix(schedule, t))) ** 2


@dataclass(frozen=True)
class Simple:
    """1 on the network's own target. Ho et al. 2020 (arXiv:2006.11239), eq. 14, if that is eps."""

    def __call__(self, schedule: Schedule, target: Target, t: Tensor) -> Tensor:
        """The weight at the times `t`."""
        return torch.ones_like(t, dtype=torch.float64)


@dataclass(frozen=True)
class SNR:
    """1 on eps, which is `snr` on x0, for any target. Salimans & Ho 2022 (arXiv:2202.00512), eq. 9."""

    def __call__(self, schedule: Schedule, target: Target, t: Tensor) -> Tensor:
        """The weight at the times `t`."""
        return error_ratio(schedule, t, Eps(), target)


@dataclass(frozen=True)
class MinSNR:
    """`min(snr, gamma)` on x0, for any target. Hang et al. 2023 (arXiv:2303.09556), section 3.4."""

    gamma: Positive = 5.0

    def __call__(self, schedule: Schedule, target: Target, t: Tensor) -> Tensor:
        """The weight at the times `t`."""
        return schedule.log_snr(t).exp().clamp(max=self.gamma) * error_ratio(schedule, t, X0(), target)


@dataclass(frozen=True)
class EDM:
    """1 on the preconditioned target of that `sigma_data`, for any target.

    On x0, where alpha = 1, it is `(sigma^2 + sd^2) / (sigma sd)^2`: Karras et al. 2022 (arXiv:2206.00364), table 1.
    """

    sigma_data: Positive = 0.5

    def __call__(self, schedule: Schedule, target: Target, t: Tensor) -> Tensor:
        """The weight at the times `t`."""
        return error_ratio(schedule, t, EDMTarget(self.sigma_data), target)


@dataclass(frozen=True)
class Likelihood:
    """`-snr' / 2` on x0, times the length of the axis: the mean over uniform times is the bound's diffusion part.

    In nats/dim; `-log_snr' / 2` on eps, `g^2 / 2` on the score. Kingma et al. 2021 (arXiv:2107.00630), eq. 17; Song et
    al. 2021b (arXiv:2101.09258), eq. 7. Paradigms refuse to train it at times whose mean is not the uniform one.
    """

    def __call__(self, schedule: Schedule, target: Target, t: Tensor) -> Tensor:
        """The weight at the times `t`."""
        if schedule.discrete:  # the mean of p is at fault by (mean - mean_q)^2 / 2 lower, at each of T steps
            lower = schedule.bridge(t - schedule.step, t).lower
            return error_ratio(schedule, t, PosteriorMean(), target) * schedule.t_max / schedule.step / (2 * lower)
        # -log_snr' = 2 det(m, rate) / (alpha sigma) and det_eps = alpha: in one fraction, so that alpha may be 0
        m, rate, n = schedule(t), schedule.rate(t), target.mix(schedule, t)
        ends = schedule.time(torch.tensor([0.0, 1.0], dtype=torch.float64))
        return (ends[1] - ends[0]) * det(m, rate) * m.alpha / (m.sigma * det(m, n) ** 2)


@dataclass(frozen=True)
class Sigmoid:
    """`sigmoid(bias - log_snr)` times the likelihood's weight: the bound of data under a little Gaussian noise.

    Kingma & Gao 2023 (arXiv:2303.00848), where any weight that is non-decreasing in t is such a bound. A lower `bias`
    gives fine detail less weight: Hoogeboom et al. 2024 (arXiv:2410.19324) fit it to the resolution. At times that are
    not uniform in the mean their density is a factor of the weight, which is then another one.
    """

    bias: Real = 2.0

    def __call__(self, schedule: Schedule, target: Target, t: Tensor) -> Tensor:
        """The weight at the times `t`."""
        return (self.bias - schedule.log_snr(t)).sigmoid() * Likelihood()(schedule, target, t)
