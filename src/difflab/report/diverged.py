"""Trainings that diverged: a seed whose score is far worse than those of the same cell's other seeds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from difflab.report.variance import Array

FACTOR = 2.0  # times worse than each sibling, of scores that are positive
NOISES = 6.0  # standard deviations of the median cell that it lies beyond each sibling
SPREADS = 3.0  # and times the distance of its siblings from each other


@dataclass(frozen=True)
class Diverged:
    """One seed of a cell that diverged. `text`: "seed 2 diverged: 31.2, 3.1 times its siblings"."""

    seed: tuple[int, ...]
    over: str
    value: float
    siblings: float  # their mean

    @property
    def name(self) -> str:
        """`seed 2`, or `noise seed 2`; the seeds of a chain of trainings with a stroke between them."""
        return f"{self.over.removeprefix('training ')[:-1]} {'/'.join(map(str, dict.fromkeys(self.seed)))}"

    @property
    def factor(self) -> float:
        """Its value in units of its siblings'; NaN unless both are positive."""
        return self.value / self.siblings if min(self.value, self.siblings) > 0 else math.nan

    @property
    def text(self) -> str:
        """Which seed, its value, and how far that is from its siblings'."""
        times = f"{self.factor:.2g} times its siblings"
        rest = f"and {self.siblings:.4g} of its siblings" if math.isnan(self.factor) else times
        return f"{self.name} diverged: {self.value:.4g}, {rest}"


def diverged(y: Array, logarithms: bool) -> list[int | None]:
    """Of each cell in `y` (k, n), larger being worse, which of its n seeds diverged, if one did.

    That is its worst seed if it is worse than each sibling by a factor of 2 (of scores that are compared by their
    logarithms), by 6 standard deviations of the median cell (of two, the quieter), and by 3 times the distance between
    its siblings, once the median effect of each seed is taken off. The median cell is the measure because a diverged
    seed does not move it; of a single cell no seed is named. In a cell of two seeds the worse one is named.

    Of 18 equal cells with 3 seeds and Gaussian noise of 5 % a seed is named in less than one of 1,000 studies.
    """
    k, n = y.shape
    if k < 2 or n < 2:
        return [None] * k
    if k > 2:
        y = y - np.median(y - np.median(y, 1, keepdims=True), 0)
    usual = math.sqrt(float(np.quantile(y.var(1, ddof=1), 0.5, method="lower")))
    found: list[int | None] = []
    for row in y:
        *siblings, near, worst = sorted(row)
        spread = near - min([*siblings, near])
        least = max(NOISES * usual, SPREADS * spread, math.log(FACTOR) if logarithms else 0.0)
        found.append(int(row.argmax()) if worst - near > least else None)
    return found


def named(by_seed: dict[tuple[int, ...], float], over: str, which: int) -> Diverged:
    """The seed that diverged, with its value and its siblings'."""
    seed = list(by_seed)[which]
    return Diverged(seed, over, by_seed[seed], fmean(value for key, value in by_seed.items() if key != seed))
