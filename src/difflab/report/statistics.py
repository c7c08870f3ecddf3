"""What repetitions allow to be said: intervals over seeds, and comparisons on common noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean, stdev
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from scipy.stats import studentized_range
from scipy.stats import t as student_t

from difflab.metric import higher_is_better

if TYPE_CHECKING:
    from difflab.report.study import Cell

LEVEL = 0.95
TRAININGS, NOISE = "training seeds", "noise seeds"  # what is repeated
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
    over: str = TRAININGS

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


NOTHING = Interval(math.nan, math.nan, math.nan, 0)


def interval(values: Sequence[float], over: str, level: float = LEVEL) -> Interval:
    """`mean ± t s / sqrt(n)`, with the quantile t of Student's law of n - 1 degrees of freedom."""
    n, mean = len(values), fmean(values)
    if n < 2 or not math.isfinite(mean):
        return Interval(mean, math.nan, math.nan, n, over)
    half = float(student_t.ppf((1 + level) / 2, n - 1)) * stdev(values) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n, over)


def repetitions(values: Mapping[Seeds, float]) -> tuple[list[float], str]:
    """The values that count once each, and what they repeat: trainings, each by its mean over noise seeds.

    Of one training with several noise seeds, these.
    """
    trainings: dict[tuple[int, ...], list[float]] = {}
    for (training, _), value in values.items():
        trainings.setdefault(training, []).append(value)
    if len(trainings) == 1 and len(values) > 1:
        return list(values.values()), NOISE
    return [fmean(each) for each in trainings.values()], TRAININGS


def estimate(values: Mapping[Seeds, float], level: float = LEVEL) -> Interval:
    """The interval over training seeds; of one training with several noise seeds, over these."""
    return interval(*repetitions(values), level)


def means(rows: Sequence[Mapping[str, float | str]]) -> dict[str, float]:
    """The mean of each key of which all rows have a number."""
    kept = {key: [value for row in rows if isinstance(value := row.get(key), int | float)] for key in rows[0]}
    return {key: fmean(values) for key, values in kept.items() if len(values) == len(rows)}


def matched(cells: Sequence[Cell], metric: str) -> list[dict[Seeds, float]]:
    """The metric of each cell at the seeds that all of them have.

    Networks that were trained on from others meet these at the seeds that they share, those of the first training.
    Raises ValueError if the metric was not measured of one of them.
    """
    values = [cell.values(metric) for cell in cells]
    length = min(len(training) for each in values for training, _ in each)
    found: list[dict[Seeds, list[float]]] = [{} for _ in cells]
    for each, met in zip(values, found, strict=True):
        for (training, noise), value in each.items():
            met.setdefault((training[-length:], noise), []).append(value)
    common = [seeds for seeds in found[0] if all(seeds in met for met in found)]
    return [{seeds: fmean(met[seeds]) for seeds in common} for met in found]


@dataclass(frozen=True)
class Verdict:
    """What a comparison of one cell with another allows to be said."""

    word: str  # "better", "worse", "inconclusive"; "undefined" of what is no finite number
    difference: Interval  # the one less the other; in a ranking of positive values, of their logarithms
    why: str


def concluded(a: Cell, b: Cell, metric: str, difference: Interval) -> Verdict:
    """What the difference of `a` from `b` says."""
    if not difference.known:
        why = "one seed in common" if difference.n == 1 else "a value is no finite number"
        return Verdict("inconclusive", difference, why)
    if difference.over == NOISE and a.folders.isdisjoint(b.folders):
        return Verdict("inconclusive", difference, "one training of each: only the noise was repeated")
    over = f"over {difference.n} {difference.over}"
    if difference.low <= 0 <= difference.high:
        return Verdict("inconclusive", difference, f"the difference may be 0, {over}")
    return Verdict("better" if (difference.mean > 0) == higher_is_better(metric) else "worse", difference, over)


def compare(a: Cell, b: Cell, metric: str, comparisons: int = 1) -> Verdict:
    """Whether `a` is better than `b`: a paired t test of their differences at common seeds of training and noise.

    Where it is one of several `comparisons`, they err together in 5 % of studies at most (Bonferroni). Of two
    trainings of which only the noise was repeated nothing is concluded: another training may come out otherwise.
    Raises ValueError if the metric was not measured of both.
    """
    ours, theirs = matched((a, b), metric)
    unlike = [key for key, value in a.protocol.items() if b.protocol[key] != value]
    if unlike or not ours:
        why = f"unlike protocol: {', '.join(unlike)}" if unlike else "no seed in common"
        return Verdict("inconclusive", NOTHING, why)
    pairs = {seeds: ours[seeds] - theirs[seeds] for seeds in ours}
    return concluded(a, b, metric, estimate(pairs, 1 - (1 - LEVEL) / comparisons))


@lru_cache
def range_of_equals(cells: int, freedom: int) -> float:
    """How far the best of equals lies from the worst, in standard errors of a difference: in 5 % of studies farther.

    Tukey's studentized range over sqrt(2), for a variance of `freedom` degrees of freedom.
    """
    return float(studentized_range.ppf(LEVEL, cells, freedom)) / math.sqrt(2)


def against_first(order: Sequence[Cell], metric: str) -> list[Verdict]:
    """Each cell but the first against the first, which the values themselves chose.

    At the seeds that all have in common: `y = cell + seed + rest`, in logarithms where all values are positive, as a
    distance's noise grows with it. The rest's variance, of (k - 1)(n - 1) degrees of freedom, is pooled over k cells
    and n seeds; where the differences of a pair vary more, theirs is taken. As the first was chosen, the differences
    are held to the range of k equals. Without two seeds in common of all, pairs are compared, and corrected for all.
    """
    rows = [repetitions(values) for values in matched(order, metric)]
    k, n, over = len(order), len(rows[0][0]), rows[0][1]
    if k < 2 or n < 2:
        return [compare(cell, order[0], metric, math.comb(k, 2)) for cell in order[1:]]
    y = np.array([values for values, _ in rows])
    y = np.log(y) if y.min() > 0 else y
    freedom = (k - 1) * (n - 1)
    rest = y - y.mean(0) - y.mean(1, keepdims=True) + y.mean()
    pooled = 2 * (rest**2).sum() / freedom
    found = []
    for cell, difference in zip(order[1:], y[1:] - y[0], strict=True):
        mean = float(difference.mean())
        half = range_of_equals(k, freedom) * math.sqrt(max(pooled, difference.var(ddof=1)) / n)
        found.append(concluded(cell, order[0], metric, Interval(mean, mean - half, mean + half, n, over)))
    return found


@dataclass(frozen=True)
class Place:
    """A cell's place in a ranking. `verdict` holds it against the best, of which it is None."""

    cell: Cell
    value: Interval
    verdict: Verdict | None

    @property
    def says(self) -> str:
        """Whether it can be told from the best."""
        words = {"worse": "worse", "undefined": "not a number"}
        return words.get(self.verdict.word, "inconclusive against the best") if self.verdict else "best"


def ranking(cells: Sequence[Cell], metric: str, nfe: float) -> list[Place]:
    """The cells of one protocol that kept to `nfe` evaluations, best mean first, each held against the first.

    Of cells that are equal one is called worse in 5 % of studies at most; simulated with 3 seeds, 6 or 18 cells and
    noise in proportion to the mean, in 3.3 %. Where the relative noise of equals ranges from 1 to 4 it is 5 and 7.5 %,
    and 9 and 10 % where that of a single one is 4 times the others'. What has no finite mean comes last.
    Raises ValueError if the metric was not measured of one of them, or if their protocols differ.
    """
    entered = [cell for cell in cells if cell.nfe == nfe]
    if any(cell.protocol != entered[0].protocol for cell in entered):
        raise ValueError("cells of unlike protocols have no ranking: rank the cells of one group")
    sign = -1 if higher_is_better(metric) else 1
    order = sorted(finite(entered, metric), key=lambda cell: sign * cell.estimate(metric).mean)
    verdicts = [None, *against_first(order, metric)] if order else []
    undefined = [cell for cell in entered if cell not in order]
    verdicts += [Verdict("undefined", NOTHING, "its mean is no finite number") for _ in undefined]
    placed = zip([*order, *undefined], verdicts, strict=True)
    return [Place(cell, cell.estimate(metric), verdict) for cell, verdict in placed]


def finite(cells: Sequence[Cell], metric: str) -> list[Cell]:
    """The cells of which the metric's mean is a finite number."""
    return [cell for cell in cells if math.isfinite(cell.estimate(metric).mean)]


def pareto(cells: Sequence[Cell], metric: str) -> list[Cell]:
    """The cells that no other betters in mean without more counted evaluations, by rising number of these.

    Raises ValueError if the metric was not measured of one of them.
    """
    sign = -1 if higher_is_better(metric) else 1
    front: list[Cell] = []
    best = math.inf
    for cell in sorted(finite(cells, metric), key=lambda cell: (cell.cost["nfe"], sign * cell.estimate(metric).mean)):
        if sign * cell.estimate(metric).mean < best:
            best = sign * cell.estimate(metric).mean
            front.append(cell)
    return front
