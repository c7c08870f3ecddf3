"""Confidence intervals over training seeds or noise seeds, and the range of equals that rankings use."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import NormalDist, fmean, stdev
from typing import TypeAlias

LEVEL = 0.95
TRAININGS, NOISE = "training seeds", "noise seeds"  # what is repeated
Seeds: TypeAlias = tuple[tuple[int, ...], int]  # of a training, and of the noise that it was sampled from


@dataclass(frozen=True)
class Interval:
    """A mean and the ends of its confidence interval, which are NaN if there is only one value.

    `over` names what was repeated `n` times. An interval over noise seeds covers sampling noise only: another training
    may lie outside it. If there are `pair`, two values, the ends are these two: Student's interval of two values is 9
    times as long as their distance. If it is of a `ratio`, the numbers are logarithms.
    """

    mean: float
    low: float
    high: float
    n: int
    over: str = TRAININGS
    pair: tuple[float, ...] = ()
    ratio: bool = False

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

    def within(self, low: float, high: float) -> Interval:
        """The part of it that lies in the range of possible values, in which the true mean lies."""
        inside = self.known and low <= self.mean <= high
        return replace(self, low=max(self.low, low), high=min(self.high, high)) if inside else self

    def __str__(self) -> str:
        """Two digits of the half-width, and as many decimals of the mean; both ends where they are not symmetric."""
        if not self.known or not self.half_width:
            return f"{self.mean:.4g}"
        decimals = max(0, 1 - math.floor(math.log10(self.half_width)))
        mean, low, high = (f"{value:.{decimals}f}" for value in (self.mean, self.low, self.high))
        if self.pair:
            return f"{mean} ({', '.join(f'{value:.{decimals}f}' for value in self.pair)})"
        if not math.isclose(self.high - self.mean, self.mean - self.low, rel_tol=1e-6):
            return f"{mean} ({low} to {high})"
        return f"{mean} ± {self.half_width:.{decimals}f}"


NOTHING = Interval(math.nan, math.nan, math.nan, 0)


def interval(values: Sequence[float], over: str, level: float = LEVEL) -> Interval:
    """`mean ± t s / sqrt(n)`, where t is the quantile of Student's distribution with n - 1 degrees of freedom."""
    n, mean = len(values), fmean(values)
    if n < 2 or not math.isfinite(mean):
        return Interval(mean, math.nan, math.nan, n, over)
    from scipy.special import stdtrit  # which takes a while to load, and is needed for repetitions alone

    half = float(stdtrit(n - 1, (1 + level) / 2)) * stdev(values) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n, over)


def summary(values: Sequence[float], over: str, low: float, high: float) -> Interval:
    """What is shown of a score that lies in [low, high]: its mean and 95 % interval there; of two values both."""
    if len(values) == 2 and all(map(math.isfinite, values)):
        return Interval(fmean(values), min(values), max(values), 2, over, tuple(values))
    return interval(values, over).within(low, high)


def by_repetition(values: Mapping[Seeds, float]) -> tuple[dict[tuple[int, ...], float], str]:
    """The independent values by seed, and what they repeat: for each training its mean over noise seeds.

    If there is one training with several noise seeds, its values at those seeds.
    """
    trainings: dict[tuple[int, ...], list[float]] = {}
    for (training, _), value in values.items():
        trainings.setdefault(training, []).append(value)
    if len(trainings) == 1 and len(values) > 1:
        return {(noise,): value for (_, noise), value in values.items()}, NOISE
    return {training: fmean(each) for training, each in trainings.items()}, TRAININGS


def repetitions(values: Mapping[Seeds, float]) -> tuple[list[float], str]:
    """The independent values, and what they repeat."""
    by_seed, over = by_repetition(values)
    return list(by_seed.values()), over


def estimate(values: Mapping[Seeds, float], level: float = LEVEL) -> Interval:
    """The interval over training seeds; over noise seeds if there is one training with several of them."""
    return interval(*repetitions(values), level)


def shown(values: Mapping[Seeds, float], low: float, high: float) -> Interval:
    """The `summary` over training seeds, or over noise seeds as of `estimate`."""
    return summary(*repetitions(values), low, high)


def means(rows: Sequence[Mapping[str, float | str]]) -> dict[str, float]:
    """The mean of each key that has a number in all rows."""
    kept = {key: [value for row in rows if isinstance(value := row.get(key), int | float)] for key in rows[0]}
    return {key: fmean(values) for key, values in kept.items() if len(values) == len(rows)}


@lru_cache
def range_of_equals(cells: int, freedom: float, level: float = LEVEL) -> float:
    """The quantile of the distance between the best and the worst of equal cells, in standard errors.

    Tukey's studentized range over sqrt(2), as the standard error is that of a difference. `freedom` are the degrees of
    freedom of the estimated variance, which need not be a whole number.
    """
    from scipy.stats import studentized_range  # likewise

    return float(studentized_range.ppf(level, cells, freedom)) / math.sqrt(2)
