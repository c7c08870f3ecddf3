"""Loss weights by noise level, each stated on the target where it is simplest and carried to any other.

At one `x_t` a squared error in target a is `(det_a / det_b)^2` times the error in target b.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from difflab.gaussian import det
from difflab.schedule import Schedule
from difflab.target import X0, Target


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
    """`snr` on x0, which is 1 on eps, whatever the network predicts. Salimans & Ho 2022 (arXiv:2202.00512), eq. 9."""

    def __call__(self, schedule: Schedule, target: Target, t: Tensor) -> Tensor:
        """The weight at the times `t`."""
        return schedule.log_snr(t).exp() * error_ratio(schedule, t, X0(), target)


@dataclass(frozen=True)
class MinSNR:
    """`min(snr, gamma)` on x0, whatever the network predicts. Hang et al. 2023 (arXiv:2303.09556), section 3.4."""

    gamma: float = 5.0

    def __call__(self, schedule: Schedule, target: Target, t: Tensor) -> Tensor:
        """The weight at the times `t`."""
        return schedule.log_snr(t).exp().clamp(max=self.gamma) * error_ratio(schedule, t, X0(), target)
