"""Schedules of the learning rate: its factor over the images seen.

Each is called with the images that are seen when a step is done, with the budget and with the batch of the step, all in
images, and gives the rate of that step as a share of the peak.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Protocol

from difflab.process.ranges import Budget, Rounds


class LRSchedule(Protocol):
    """The rate of a step as a share of the peak."""

    @property
    def warmup(self) -> float:
        """The length of the warm-up: in images, or below 1 as a share of the budget."""

    def __call__(self, images: int, budget: int, batch: int = 0) -> float:
        """The factor in [0, 1] of the step of `batch` images after which `images` of `budget` are seen."""


def warm(images: int, warmup: int) -> float:
    """`min(1, images / warmup)`: linear warm-up over so many images."""
    return min(1.0, images / warmup) if warmup else 1.0


def check_images(name: str, images: int) -> None:
    """Raise ValueError for a negative number of images."""
    if images < 0:
        raise ValueError(f"lr_schedule.{name}={images} is a number of images: choose 0 or more")


@dataclass(frozen=True)
class Cosine:
    """Linear warm-up over the share `warmup` of the budget, then cosine decay to zero.

    With `u = images / budget`: `u / warmup`, then `1/2 + 1/2 cos(pi (u - warmup) / (1 - warmup))`. Loshchilov & Hutter
    2017 (arXiv:1608.03983), eq. 5, without restarts. Raises ValueError for a share outside [0, 1).
    """

    warmup: float = 0.05

    def __post_init__(self) -> None:
        if not 0 <= self.warmup < 1:
            raise ValueError(
                f"lr_schedule.warmup={self.warmup} must lie in [0, 1): with lr_schedule=cosine it is a share of the "
                f"budget; constant, wsd and inverse_sqrt count images"
            )

    def __call__(self, images: int, budget: int, batch: int = 0) -> float:
        """The factor; it depends on `images / budget` alone."""
        progress = images / budget
        if progress < self.warmup:
            return progress / self.warmup
        return 0.5 + 0.5 * math.cos(math.pi * (progress - self.warmup) / (1 - self.warmup))


@dataclass(frozen=True)
class Constant:
    """Linear warm-up over `warmup` images, then the peak: it does not depend on the budget.

    As the code of Ho et al. 2020 (arXiv:2006.11239) has it. Raises ValueError for a negative number.
    """

    warmup: Budget = 4000

    def __post_init__(self) -> None:
        check_images("warmup", self.warmup)

    def __call__(self, images: int, budget: int, batch: int = 0) -> float:
        """The factor `min(1, images / warmup)`."""
        return warm(images, self.warmup)


@dataclass(frozen=True)
class WSD:
    """Warm-up over `warmup` images, a stable peak, and linear decay to zero over the last share `decay` of the budget.

    Hu et al. 2024 (arXiv:2404.06395), with the linear decay of Hagele et al. 2024 (arXiv:2405.18392), section 3, in
    place of their exponential one. Before the decay it does not depend on the budget. Raises ValueError for a negative
    number of images, and for a share outside (0, 1].
    """

    warmup: Budget = 4000
    decay: float = 0.2

    def __post_init__(self) -> None:
        check_images("warmup", self.warmup)
        if not 0 < self.decay <= 1:
            raise ValueError(f"lr_schedule.decay={self.decay} must lie in (0, 1]: it is a share of the budget")

    def __call__(self, images: int, budget: int, batch: int = 0) -> float:
        """The factor `min(1, images / warmup, (budget - images) / (decay budget))`."""
        return min(warm(images, self.warmup), (budget - images) / (self.decay * budget))


@dataclass(frozen=True)
class InverseSquareRoot:
    """Warm-up over `warmup` images, then `sqrt(decay_from / images)` from `decay_from` on: no budget is needed.

    Vaswani et al. 2017 (arXiv:1706.03762), eq. 3, where both numbers are one; two of them in diffusion: Karras et al.
    2024 (arXiv:2312.02696), appendix B. Raises ValueError unless `decay_from >= warmup >= 0` and
    `decay_from > 0`.
    """

    warmup: Budget = 4000
    decay_from: Budget = 20_000

    def __post_init__(self) -> None:
        check_images("warmup", self.warmup)
        if self.decay_from < max(1, self.warmup):
            raise ValueError(
                f"lr_schedule.decay_from={self.decay_from} must be at least 1, and lr_schedule.warmup={self.warmup}: "
                f"the decay follows the warm-up"
            )

    def __call__(self, images: int, budget: int, batch: int = 0) -> float:
        """The factor `min(1, images / warmup, sqrt(decay_from / images))`."""
        return min(warm(images, self.warmup), math.sqrt(self.decay_from / images))


@dataclass(frozen=True)
class Restarts:
    """Linear decay from the peak to zero in each of `rounds` equal parts of the budget.

    With `u = rounds (images - batch) / (budget - batch)`, where the step starts: `1 - (u mod 1)`. A round begins with
    the first step that starts in it, as for `Rounds`, which takes over a new teacher there: for progressive
    distillation, Salimans & Ho 2022 (arXiv:2202.00512). Restarts after Loshchilov & Hutter 2017 (arXiv:1608.03983),
    whose decay is a cosine.
    """

    rounds: Rounds = 6
    warmup: ClassVar[float] = 0.0

    def __call__(self, images: int, budget: int, batch: int = 0) -> float:
        """The factor; it depends on `(images - batch) / (budget - batch)` alone."""
        return 1 - (images - batch) / (budget - batch) * self.rounds % 1
