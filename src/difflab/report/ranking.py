"""Rankings of a study's cells: paired comparisons at common seeds, each against the best, and the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from types import MappingProxyType

import numpy as np

from difflab.metric.direction import higher_is_better
from difflab.report.cell import Cell
from difflab.report.diverged import Diverged, diverged, named
from difflab.report.statistics import LEVEL, NOISE, NOTHING, Interval, Seeds, by_repetition, estimate
from difflab.report.variance import against_best


def at_common_seeds(cells: Sequence[Cell], metric: str) -> list[dict[Seeds, float]]:
    """The metric of each cell at the seeds that all of them have.

    A training that starts from the weights of another is matched with it by the seeds of the first training.
    Raises ValueError if one of the cells does not have the metric.
    """
    values = [cell.values(metric) for cell in cells]
    length = min(len(training) for each in values for training, _ in each)
    shared: list[dict[Seeds, list[float]]] = [{} for _ in cells]
    for each, by_seeds in zip(values, shared, strict=True):
        for (training, noise), value in each.items():
            by_seeds.setdefault((training[-length:], noise), []).append(value)
    common = [seeds for seeds in shared[0] if all(seeds in by_seeds for by_seeds in shared)]
    return [{seeds: fmean(by_seeds[seeds]) for seeds in common} for by_seeds in shared]


@dataclass(frozen=True)
class Verdict:
    """The conclusion of a comparison of one cell with another."""

    word: str  # "better", "worse", "inconclusive"; "undefined" if the mean is not finite
    difference: Interval  # the first minus the second; in a ranking of positive values, of their logarithms
    reason: str


def concluded(a: Cell, b: Cell, metric: str, difference: Interval) -> Verdict:
    """The verdict on `a` that follows from its difference from `b`."""
    if not difference.known:
        return Verdict("inconclusive", difference, unknown(difference))
    if difference.over == NOISE and a.folders.isdisjoint(b.folders):
        return Verdict("inconclusive", difference, "one training of each: only the noise was repeated")
    over = f"over {difference.n} {difference.over}"
    if difference.low <= 0 <= difference.high:
        return Verdict("inconclusive", difference, f"the difference may be 0, {over}")
    return Verdict("better" if (difference.mean > 0) == higher_is_better(metric) else "worse", difference, over)


def unknown(difference: Interval) -> str:
    """Why a difference has no interval."""
    if difference.n < 2:
        return ("no seed in common", "one seed in common")[difference.n]
    if not math.isfinite(difference.mean):
        return "a value is not finite"
    return "the values at all seeds agree, so that their noise is unknown"


def compare(a: Cell, b: Cell, metric: str, comparisons: int = 1) -> Verdict:
    """Whether `a` is better than `b`: a paired t test of their differences at common seeds of training and noise.

    If it is one of several `comparisons`, at most 5 % of studies contain an error in any of them (Bonferroni). If each
    cell is a single training and only the noise was repeated, the verdict is inconclusive: training noise is unknown.
    Raises ValueError if one of the cells does not have the metric.
    """
    ours, theirs = at_common_seeds((a, b), metric)
    unlike = [key for key, value in a.protocol.items() if b.protocol[key] != value]
    if unlike or not ours:
        reason = f"unlike protocol: {', '.join(unlike)}" if unlike else "no seed in common"
        return Verdict("inconclusive", NOTHING, reason)
    pairs = {seeds: ours[seeds] - theirs[seeds] for seeds in ours}
    return concluded(a, b, metric, estimate(pairs, 1 - (1 - LEVEL) / comparisons))


@dataclass(frozen=True)
class Place:
    """A cell's place in a ranking. `verdict` compares it with the best; it is None for the best itself.

    `diverged` is the seed that is left out of value and verdict, if one diverged; `with_it` the cell's place in the
    ranking of all values.
    """

    cell: Cell
    value: Interval
    verdict: Verdict | None
    rank: int = 0  # from 1
    diverged: Diverged | None = None
    with_it: Place | None = None

    @property
    def outcome(self) -> str:
        """One of "best", "inconclusive against the best", "worse", "not a number", "better at common seeds".

        The best has the best mean of its own seeds; at those that it shares with another it may be the worse one.
        """
        words = {"worse": "worse", "undefined": "not a number", "better": "better at common seeds"}
        return words.get(self.verdict.word, "inconclusive against the best") if self.verdict else "best"

    @property
    def note(self) -> str:
        """The seed that was left out, and the place with it; empty if none was."""
        if not self.diverged or not self.with_it:
            return ""
        other = f"mean {self.with_it.value.mean:.4g}, place {self.with_it.rank} instead of {self.rank}"
        return f"{self.diverged.text}; left out here, with it {other}, {self.with_it.outcome}"


def ranking(cells: Sequence[Cell], metric: str, nfe: float) -> list[Place]:
    """The cells of one protocol at one NFE, best mean first, each compared with the first; no finite mean comes last.

    The model is `y = cell + seed + residual` at the seeds that all cells share, in logarithms if all values are
    positive, as the noise of a distance grows with the distance. A seed that diverged (see `diverged`) is left out of
    its cell; the place that its cell has with it is kept beside. Each cell has its variance, moderated by those of all
    (see `noise`); if the differences of a pair vary more, their own variance is used. As the first was chosen by its
    value, a difference counts only beyond the range of k equals (Tukey), at 1 - 0.05 / r if `cells` are of r NFE, so
    that this holds for all NFE of the metric together (Bonferroni). If not all cells share two seeds, or share noise
    seeds alone although one has several trainings, each is compared with the first by a paired t test, corrected for
    all pairs.

    That an equal is called worse, at any NFE of a metric, should happen in at most 5 % of studies. Simulated with 3
    seeds and 6 or 18 cells (`python -m benchmarks.verdicts` in tests): 3.2 and 0.8 % with like noise, 6.2 and 5.2 % if
    half of the cells are ten times quieter, 8.0 and 4.0 % if one is 4 times noisier, 2.5 and 0.2 % if a seed of one
    collapsed; 7.5 and 5.2 % if one is 10 times noisier. The standard error of these is 1 %.

    Tukey 1953; Games & Howell 1976, doi:10.3102/10769986001002113 (a variance for each pair).
    Raises ValueError if one of the cells does not have the metric, or if their protocols differ.
    """
    entered = [cell for cell in cells if cell.nfe == nfe]
    if any(cell.protocol != entered[0].protocol for cell in entered):
        raise ValueError("cells of unlike protocols cannot be ranked together: rank the cells of one group")
    rankings = len({cell.nfe for cell in cells})
    known = finite(entered, metric)
    left_out = seeds_that_diverged(known, metric)
    places = placed(known, metric, rankings, left_out)
    if left_out:
        everything = {id(place.cell): place for place in placed(known, metric, rankings, {})}
        places = [replace(p, with_it=everything[id(p.cell)]) if p.diverged else p for p in places]
    undefined = [cell for cell in entered if cell not in known]
    lost = Verdict("undefined", NOTHING, "its mean is not finite")
    return [*places, *(Place(cell, cell.estimate(metric), lost, len(places) + 1) for cell in undefined)]


def table_of(cells: Sequence[Cell], metric: str) -> tuple[list[dict[tuple[int, ...], float]], str, bool]:
    """The values of each cell by the seeds that all share, what these repeat, and whether all values are positive."""
    rows = [by_repetition(values) for values in at_common_seeds(cells, metric)]
    values = [row for row, _ in rows]
    return values, rows[0][1], all(value > 0 for row in values for value in row.values())


def shares_repetitions(cells: Sequence[Cell], rows: Sequence[Mapping[tuple[int, ...], float]], over: str) -> bool:
    """Whether all cells share two repetitions of what they repeat: not noise seeds where one of them has trainings."""
    return len(rows[0]) > 1 and not (over == NOISE and any(len(cell.folders) > 1 for cell in cells))


def seeds_that_diverged(cells: Sequence[Cell], metric: str) -> dict[int, Diverged]:
    """The diverged seed of each cell that has one, by the cell's index."""
    if len(cells) < 2:
        return {}
    rows, over, positive = table_of(cells, metric)
    if not shares_repetitions(cells, rows, over):
        return {}
    y = np.array([[*row.values()] for row in rows])
    y = np.log(y) if positive else y
    found = diverged(-y if higher_is_better(metric) else y, positive)
    return {k: named(rows[k], over, seed) for k, seed in enumerate(found) if seed is not None}


def placed(cells: Sequence[Cell], metric: str, rankings: int, left_out: Mapping[int, Diverged]) -> list[Place]:
    """The places of cells with finite means, without the seeds that are left out."""
    sign = -1 if higher_is_better(metric) else 1
    values = [cell.estimate(metric, (left_out[k].seed,) if k in left_out else ()) for k, cell in enumerate(cells)]
    order = sorted(range(len(cells)), key=lambda k: sign * values[k].mean)
    without = {rank: left_out[k] for rank, k in enumerate(order) if k in left_out}
    verdicts = [None, *against_first([cells[k] for k in order], metric, rankings, without)][: len(cells)]
    return [
        Place(cells[k], values[k], verdict, rank, left_out.get(k))
        for rank, (k, verdict) in enumerate(zip(order, verdicts, strict=True), 1)
    ]


def against_first(
    order: Sequence[Cell], metric: str, rankings: int = 1, left_out: Mapping[int, Diverged] = MappingProxyType({})
) -> list[Verdict]:
    """Each cell but the first against the first, as `ranking` describes, without the seeds left out by index."""
    k = len(order)
    if k < 2:
        return []
    rows, over, positive = table_of(order, metric)
    if not shares_repetitions(order, rows, over):
        return [compare(cell, order[0], metric, math.comb(k, 2) * rankings) for cell in order[1:]]
    y = np.array([[*row.values()] for row in rows])
    y = np.log(y) if positive else y
    for index, each in left_out.items():
        y[index, list(rows[index]).index(each.seed)] = math.nan
    differences = against_best(y, 1 - (1 - LEVEL) / rankings)
    intervals = (Interval(d.mean, d.mean - d.half, d.mean + d.half, d.n, over) for d in differences)
    pairs = zip(order[1:], intervals, strict=True)
    return [concluded(cell, order[0], metric, replace(found, ratio=positive)) for cell, found in pairs]


def finite(cells: Sequence[Cell], metric: str) -> list[Cell]:
    """The cells whose mean of the metric is finite."""
    return [cell for cell in cells if math.isfinite(cell.estimate(metric).mean)]


def pareto(cells: Sequence[Cell], metric: str) -> list[Cell]:
    """The Pareto front: the cells such that no other has a better mean at no more counted NFE; by rising NFE.

    Raises ValueError if one of the cells does not have the metric.
    """
    sign = -1 if higher_is_better(metric) else 1
    front: list[Cell] = []
    best = math.inf
    for cell in sorted(finite(cells, metric), key=lambda cell: (cell.cost["nfe"], sign * cell.estimate(metric).mean)):
        if sign * cell.estimate(metric).mean < best:
            best = sign * cell.estimate(metric).mean
            front.append(cell)
    return front
