"""What repetitions allow to be said: intervals over seeds, and comparisons on common noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING, TypeAlias

from scipy.stats import t as student_t

from difflab.metric import higher_is_better

if TYPE_CHECKING:
    from difflab.report.study import Cell

LEVEL = 0.95
Seeds: TypeAlias = tuple[tuple[int, ...], int]  # of a training, and of the noise that it was sampled from


@dataclass(frozen=True)
class Interval:
    """A mean, and the ends of its confidence interval: not a number where one value is all there is.

    `over` names what was repeated `n` times. An interval over noise seeds is of sampling noise only: it says nothing
    of how another training would have come out.
    """

    mean: float
    low: float
    high: float
    n: int
    over: str = "training seeds"

    @property
    def half_width(self) -> float:
        """Half of the interval's length."""
        return (self.high - self.low) / 2

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return not math.isnan(self.half_width)

    def __str__(self) -> str:
        """Two digits of the half-width, and as many decimals of the mean."""
        if not self.known or not self.half_width:
            return f"{self.mean:.4g}"
        decimals = max(0, 1 - math.floor(math.log10(self.half_width)))
        return f"{self.mean:.{decimals}f} ± {self.half_width:.{decimals}f}"


def interval(values: Sequence[float], over: str, level: float = LEVEL) -> Interval:
    """`mean ± t s / sqrt(n)`, with the quantile t of Student's law of n - 1 degrees of freedom."""
    n, mean = len(values), fmean(values)
    if n < 2:
        return Interval(mean, math.nan, math.nan, n, over)
    half = float(student_t.ppf((1 + level) / 2, n - 1)) * stdev(values) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n, over)


def estimate(values: Mapping[Seeds, float], level: float = LEVEL) -> Interval:
    """The interval over training seeds, of which each counts once, by its mean over noise seeds.

    Of one training seed with several noise seeds, the interval over these.
    """
    trainings: dict[tuple[int, ...], list[float]] = {}
    for (training, _), value in values.items():
        trainings.setdefault(training, []).append(value)
    if len(trainings) == 1 and len(values) > 1:
        return interval(list(values.values()), "noise seeds", level)
    return interval([fmean(each) for each in trainings.values()], "training seeds", level)


def means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each key that all rows have."""
    return {key: fmean(row[key] for row in rows) for key in rows[0] if all(key in row for row in rows)}


@dataclass(frozen=True)
class Verdict:
    """What a comparison of one cell with another allows to be said."""

    word: str  # "better", "worse" or "inconclusive"
    difference: Interval  # the one less the other
    why: str


def compare(a: Cell, b: Cell, metric: str, comparisons: int = 1) -> Verdict:
    """Whether `a` is better than `b`, from their differences at common seeds of training and noise.

    Where it is one of several `comparisons`, they err together in 5 % of studies at most (Bonferroni).
    Raises ValueError if the metric was not measured of both.
    """
    ours, theirs = a.values(metric), b.values(metric)
    pairs = {seeds: ours[seeds] - theirs[seeds] for seeds in ours.keys() & theirs.keys()}
    unlike = [key for key, value in a.protocol.items() if b.protocol[key] != value]
    if unlike or not pairs:
        why = f"unlike protocol: {', '.join(unlike)}" if unlike else "no seed in common"
        return Verdict("inconclusive", Interval(math.nan, math.nan, math.nan, 0), why)
    found = estimate(pairs, 1 - (1 - LEVEL) / comparisons)
    if not found.known:
        return Verdict("inconclusive", found, "one seed in common")
    if found.low <= 0 <= found.high:
        return Verdict("inconclusive", found, f"the difference may be 0, over {found.n} {found.over}")
    word = "better" if (found.mean > 0) == higher_is_better(metric) else "worse"
    return Verdict(word, found, f"over {found.n} {found.over}")


@dataclass(frozen=True)
class Place:
    """A cell's place in a ranking. `verdict` holds it against the best, of which it is None."""

    cell: Cell
    value: Interval
    verdict: Verdict | None

    @property
    def says(self) -> str:
        """Whether it can be told from the best."""
        if self.verdict is None:
            return "best"
        return "worse" if self.verdict.word == "worse" else "inconclusive against the best"


def ranking(cells: Sequence[Cell], metric: str, nfe: float) -> list[Place]:
    """The cells of one protocol that were given `nfe` evaluations, best mean first, each held against the first.

    As the values themselves choose which is first, a comparison is one of all pairs: of cells that are equal one is
    told from the best in 5 % of studies at most. Raises ValueError if the metric was not measured of one of them, or
    if their protocols differ.
    """
    entered = [cell for cell in cells if cell.nfe == nfe]
    if any(cell.protocol != entered[0].protocol for cell in entered):
        raise ValueError("cells of unlike protocols have no ranking: rank the cells of one group")
    sign = -1 if higher_is_better(metric) else 1
    order = sorted(entered, key=lambda cell: sign * cell.estimate(metric).mean)
    pairs = math.comb(len(order), 2)
    return [
        Place(cell, cell.estimate(metric), compare(cell, order[0], metric, pairs) if k else None)
        for k, cell in enumerate(order)
    ]


def pareto(cells: Sequence[Cell], metric: str) -> list[Cell]:
    """The cells that no other betters in mean without more counted evaluations, by rising number of these.

    Raises ValueError if the metric was not measured of one of them.
    """
    sign = -1 if higher_is_better(metric) else 1
    front: list[Cell] = []
    best = math.inf
    for cell in sorted(cells, key=lambda cell: (cell.cost["nfe"], sign * cell.estimate(metric).mean)):
        if sign * cell.estimate(metric).mean < best:
            best = sign * cell.estimate(metric).mean
            front.append(cell)
    return front
