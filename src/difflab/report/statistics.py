"""Confidence intervals over training seeds or noise seeds, and the range of equals that rankings use."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import NormalDist, fmean, stdev
from typing import TypeAlias

from scipy.stats import studentized_range
from scipy.stats import t as student_t

LEVEL = 0.95
TRAININGS, NOISE = "training seeds", "noise seeds"  # what is repeated
Seeds: TypeAlias = tuple[tuple[int, ...], int]  # of a training, and of the noise that it was sampled from


@dataclass(frozen=True)
class Interval:
    """A mean and the ends of its confidence interval, which are NaN if there is only one value.

    `over` names what was repeated `n` times. An interval over noise seeds covers sampling noise only: another training
    may lie outside it.
    """

    mean: float
    low: float
    high: float
    n: int
    over: str = TRAININGS

    @property
    def half_width(self) -> float:
        """Half of the interval's length."""
        return (self.high - self.low) / 2

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return not math.isnan(self.half_width)

    def widened(self, error: float) -> Interval:
        """The interval with an error of that standard deviation, normal and independent, that all values share."""
        half = math.hypot(self.half_width, NormalDist().inv_cdf((1 + LEVEL) / 2) * error)
        return replace(self, low=self.mean - half, high=self.mean + half)

    def __str__(self) -> str:
        """Two digits of the half-width, and as many decimals of the mean."""
        if not self.known or not self.half_width:
            return f"{self.mean:.4g}"
        decimals = max(0, 1 - math.floor(math.log10(self.half_width)))
        return f"{self.mean:.{decimals}f} ± {self.half_width:.{decimals}f}"


NOTHING = Interval(math.nan, math.nan, math.nan, 0)


def interval(values: Sequence[float], over: str, level: float = LEVEL) -> Interval:
    """`mean ± t s / sqrt(n)`, where t is the quantile of Student's distribution with n - 1 degrees of freedom."""
    n, mean = len(values), fmean(values)
    if n < 2 or not math.isfinite(mean):
        return Interval(mean, math.nan, math.nan, n, over)
    half = float(student_t.ppf((1 + level) / 2, n - 1)) * stdev(values) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n, over)


def repetitions(values: Mapping[Seeds, float]) -> tuple[list[float], str]:
    """The independent values and what they repeat: for each training its mean over noise seeds.

    If there is one training with several noise seeds, its values at those seeds.
    """
    trainings: dict[tuple[int, ...], list[float]] = {}
    for (training, _), value in values.items():
        trainings.setdefault(training, []).append(value)
    if len(trainings) == 1 and len(values) > 1:
        return list(values.values()), NOISE
    return [fmean(each) for each in trainings.values()], TRAININGS


def estimate(values: Mapping[Seeds, float], level: float = LEVEL) -> Interval:
    """The interval over training seeds; over noise seeds if there is one training with several of them."""
    return interval(*repetitions(values), level)


def means(rows: Sequence[Mapping[str, float | str]]) -> dict[str, float]:
    """The mean of each key that has a number in all rows."""
    kept = {key: [value for row in rows if isinstance(value := row.get(key), int | float)] for key in rows[0]}
    return {key: fmean(values) for key, values in kept.items() if len(values) == len(rows)}


@lru_cache
def range_of_equals(cells: int, freedom: int) -> float:
    """The 95 % quantile of the distance between the best and the worst of equal cells, in standard errors.

    Tukey's studentized range over sqrt(2), as the standard error is that of a difference. `freedom` are the degrees of
    freedom of the estimated variance.
    """
    return float(studentized_range.ppf(LEVEL, cells, freedom)) / math.sqrt(2)
