"""How a ranking reads: what its words mean, the intervals of differences, and the seeds that diverged."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from difflab.report.ranking import Place, Verdict
from difflab.report.statistics import LEVEL
from difflab.report.study import Study
from difflab.report.text import counted

READING = (
    "Mean ± half of the 95 % interval over seeds (Student's t), or its ends where the range of possible values cuts "
    "it; of two seeds both values.",
    "At each NFE all are compared with the best, at common seeds of training and noise, by the interval of the "
    "difference: Tukey's range, as the best was chosen by its value, with a variance for each cell, moderated by those "
    "of all (Smyth 2004), in logarithms if all values are positive. One is worse if this interval excludes 0, and "
    "inconclusive otherwise. Differences have less noise than the means beside them, whose intervals may overlap.",
    "That an equal is called worse, at any NFE of one metric, happens in about 5 % of studies (simulated: 0 to 10 %, "
    "the most where one cell is many times noisier than all others).",
    "If not all share two seeds, each is compared with the best by a paired t test, corrected for all pairs.",
)
FAR = math.log(100)  # of a ratio: what lies beyond is printed as this


def any_error(metrics: int) -> float:
    """The share of studies with an error in the verdicts of any of several independent metrics, at most."""
    return 1 - LEVEL**metrics


def difference_text(verdict: Verdict) -> str:
    """The difference and its interval: "+12 % (+2.0 to +23)" of a ratio; empty if there is no interval."""
    found = verdict.difference
    if not found.known:
        return ""
    values = (found.mean, found.low, found.high)
    if not found.ratio:
        return "{:+.3g} ({:+.3g} to {:+.3g})".format(*values)
    shares = [100 * math.expm1(min(value, FAR)) for value in values]
    mean, low, high = (f"{share:+.0f}" if abs(share) >= 10 else f"{round(share, 1) + 0.0:+.1f}" for share in shares)
    return f"{mean} % ({low} to {high})"


@dataclass(frozen=True)
class Bar:
    """The interval of a difference from the best, in per cent of a line's width; `zero` is no difference.

    `left` and `right` are the distances from the ends of the line.
    """

    left: float
    right: float
    mean: float
    zero: float


def bars(places: Sequence[Place]) -> dict[int, Bar]:
    """The bars of a ranking by rank, on one scale; ends that lie far outside are cut."""
    compared = {place.rank: place.verdict.difference for place in places if place.verdict}
    known = {rank: found for rank, found in compared.items() if found.known}
    far = 1.6 * max((abs(found.mean) for found in known.values()), default=0.0)
    low = max(min([0.0, *(found.low for found in known.values())]), -far)
    high = min(max([0.0, *(found.high for found in known.values())]), far)

    def at(value: float) -> float:
        return 100 * (min(max(value, low), high) - low) / (high - low) if high > low else 50.0

    return {rank: Bar(at(found.low), 100 - at(found.high), at(found.mean), at(0)) for rank, found in known.items()}


def divergences(study: Study, places: Iterable[Place]) -> list[str]:
    """A line for each training of which a seed diverged, in whichever cells: "vp_sde: seed 2 diverged, ..."."""
    found: dict[tuple[str, str], list[float]] = {}
    for place in places:
        if each := place.diverged:
            key = study.training_label(place.cell), each.name
            found.setdefault(key, []).append(each.factor)
    return [
        f"{label}: {name} diverged, {span(factors)} in {counted(len(factors), 'cell')}"
        for (label, name), factors in found.items()
    ]


def span(factors: Sequence[float]) -> str:
    """`3.1 times its siblings`, of several cells `3 to 3.3 times its siblings`."""
    low, high = f"{min(factors):.2g}", f"{max(factors):.2g}"
    if "nan" in (low, high):
        return "far from its siblings"
    return f"{low if low == high else f'{low} to {high}'} times its siblings"
