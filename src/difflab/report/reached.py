"""The cost of a target quality: the fewest network evaluations with which each series reaches it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from difflab.metric.direction import higher_is_better, title
from difflab.report.cell import Cell
from difflab.report.floor import OF_ALL
from difflab.report.group import Group
from difflab.report.ranking import finite
from difflab.report.study import Study

FACTOR = 2  # of the floor, by default


@dataclass(frozen=True)
class Target:
    """The value of a metric that is to be reached. `reason` says where it comes from: `2 x floor`."""

    metric: str
    value: float
    reason: str

    def reached_by(self, value: float) -> bool:
        """Whether a value is as good as the target, or better."""
        return value >= self.value if higher_is_better(self.metric) else value <= self.value

    def __str__(self) -> str:
        """The condition: `<= 2.44 (2 x floor)`."""
        sign = "≥" if higher_is_better(self.metric) else "≤"
        return f"{sign} {self.value:.4g} ({self.reason})"


@dataclass(frozen=True)
class Reached:
    """The cell of a series that reaches the target with the fewest evaluations; None if none does."""

    label: str
    cell: Cell | None
    best: Cell  # the cell of the series with the best mean


def target_of(group: Group, metric: str, asked: float | None = None) -> Target | None:
    """The target that is given, or else twice the floor of a distance; None for a metric without a positive floor."""
    if asked is not None:
        return Target(metric, asked, "as asked")
    floor = group.floor(metric)
    if metric in OF_ALL or higher_is_better(metric) or floor is None or floor.value is None or floor.value <= 0:
        return None
    return Target(metric, FACTOR * floor.value, f"{FACTOR} × floor")


def reached(study: Study, group: Group, target: Target) -> list[Reached]:
    """For each series the measured cell with the fewest counted evaluations whose mean reaches the target.

    Nothing is interpolated between cells. The series that need the fewest evaluations come first, and those that do
    not reach the target last, the nearest first.
    """
    sign = -1 if higher_is_better(target.metric) else 1

    def mean(cell: Cell) -> float:
        return cell.estimate(target.metric).mean

    found = []
    for label, cells in study.series(group).items():
        if measured := finite([cell for cell in cells if target.metric in cell.metrics], target.metric):
            best = min(measured, key=lambda cell: sign * mean(cell))
            found.append(Reached(label, first([cell for cell in measured if target.reached_by(mean(cell))]), best))
    return sorted(found, key=lambda each: (each.cell.cost["nfe"] if each.cell else math.inf, sign * mean(each.best)))


def reached_text(study: Study, group: Group, target: Target) -> str:
    """Who reaches the target, at which cost: `Fréchet distance <= 2.4 (2 x floor): A 14 NFE, 0.3 s; ..`."""
    found = reached(study, group, target)
    reaching = [f"{each.label} {cost_text(each.cell)}" for each in found if each.cell]
    if missing := len(found) - len(reaching):
        reaching.append(f"not reached by {f'{missing} others' if reaching else 'any'}")
    return f"{title(target.metric)} {target}, at the fewest measured evaluations: {'; '.join(reaching)}."


def cost_text(cell: Cell) -> str:
    """What a sample costs: `14 NFE, 0.3 s`."""
    return f"{cell.cost['nfe']:.4g} NFE, {cell.cost['seconds_per_sample']:.2g} s"


def first(cells: Sequence[Cell]) -> Cell | None:
    """The cell with the fewest counted evaluations; None if there is none."""
    return min(cells, key=lambda cell: cell.cost["nfe"], default=None)
