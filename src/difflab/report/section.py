"""The part of the page about the cells of one protocol: rankings, charts, the table of all numbers, and pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from difflab.experiment.store.stored_evaluation import PICTURES
from difflab.metric.direction import better, meaning, title
from difflab.report.cell import Cell
from difflab.report.charts import Chart, quality_chart
from difflab.report.costs import COSTS, MEANINGS, Entry, cost_entries, devices_note
from difflab.report.gallery import Gallery, gallery
from difflab.report.group import Group
from difflab.report.ranking import Place, ranking
from difflab.report.reached import Reached, Target, reached, target_of
from difflab.report.study import Study
from difflab.report.text import as_text, nfe_text, repetitions_text
from difflab.report.words import in_words

ALWAYS = ("NFE", "s a sample", "training s", "seeds")  # columns that the table shows beside the chosen metric


@dataclass(frozen=True)
class Column:
    """A column of the table: of a metric, which the page shows when it is chosen, or of a cost."""

    key: str
    heading: str
    meaning: str
    metric: bool = False

    @property
    def extra(self) -> bool:
        """Whether only the switch of the table shows it."""
        return not self.metric and self.key not in ALWAYS


@dataclass(frozen=True)
class Section:
    """The part of the page about the cells of one protocol. `primary` is the metric that is shown first."""

    study: Study
    group: Group
    name: str
    primary: str | None = None
    asked: float | None = None  # the value of it that is to be reached; None: twice the floor

    @cached_property
    def metrics(self) -> list[str]:
        """The metrics, the primary one first."""
        metrics = self.group.metrics
        return sorted(metrics, key=lambda metric: metric != self.primary) if self.primary in metrics else [*metrics]

    @cached_property
    def rankings(self) -> dict[str, list[list[Place]]]:
        """By metric, a ranking at each NFE."""
        rankings = {}
        for metric in self.metrics:
            each = [ranking(self.group.with_metric(metric), metric, nfe) for nfe in self.group.nfes]
            rankings[metric] = [places for places in each if places]
        return rankings

    @cached_property
    def target(self) -> Target | None:
        """The quality to be reached, by the first metric; None if it has no floor, and none was given."""
        return target_of(self.group, self.metrics[0], self.asked)

    @cached_property
    def reached(self) -> list[Reached]:
        """By series, the cell that reaches the target."""
        return reached(self.study, self.group, self.target) if self.target else []

    @property
    def repeated(self) -> bool:
        """Whether any cell has several seeds."""
        return any(len(cell.records) > 1 for cell in self.group.cells)

    @cached_property
    def charts(self) -> dict[str, dict[str, Chart]]:
        """By metric, the charts by their names on the page."""
        study, group = self.study, self.group
        return {
            metric: {f"{self.name}-{metric}-{cost}": quality_chart(study, group, metric, cost) for cost in COSTS}
            for metric in self.metrics
        }

    @property
    def devices_note(self) -> str:
        """A warning if the times were measured on several devices."""
        return devices_note(self.group.devices)

    @property
    def galleries(self) -> dict[str, Gallery]:
        """The pictures by kind, without kinds that have none."""
        galleries = {kind: gallery(self.study, self.group, kind) for kind in PICTURES}
        return {kind: each for kind, each in galleries.items() if each.rows}

    @property
    def cards(self) -> tuple[dict[str, str], list[dict[str, str]]]:
        """The fields in which all cards agree; and for each card the others."""
        records = [record for cell in self.group.cells for record in cell.records]
        cards = [{"run": r.run.folder.name, "card": r.name, **texts(r.card.to_dict())} for r in records]
        common = {key: value for key, value in cards[0].items() if all(card[key] == value for card in cards)}
        return common, [{key: value for key, value in card.items() if key not in common} for card in cards]

    @property
    def title(self) -> str:
        """The heading: the number of the protocol if there are several."""
        return f"Protocol {self.name}" if len(self.study.groups) > 1 else "Quality and cost"

    @cached_property
    def columns(self) -> list[Column]:
        """The columns of the table: the NFE, the metrics, and the costs that were measured."""
        scores = [Column(key, title(key), f"{meaning(key)} {better(key).capitalize()}.", True) for key in self.metrics]
        rows = [cost_entries(cell) for cell in self.group.cells]
        measured = [key for key in rows[0] if any(row[key].text for row in rows)]
        costs = [Column(key, key, MEANINGS[key]) for key in measured]
        return [Column("NFE", "NFE", MEANINGS["NFE"]), *scores, *costs]

    def row(self, cell: Cell) -> dict[str, Entry]:
        """The entries of a cell in the table, by the keys of the columns."""
        columns = {"NFE": Entry(nfe_text(cell.nfe), cell.nfe)}
        for metric in self.metrics:
            columns[metric] = Entry("")
            if metric in cell.metrics:
                value = cell.estimate(metric)
                number = value.mean if math.isfinite(value.mean) else None
                columns[metric] = Entry(str(value), number, repetitions_text(value))
        return columns | cost_entries(cell)


def texts(fields: Mapping[str, Any]) -> dict[str, str]:
    """The fields of a card as text, objects in words."""
    return {key: in_words(as_text(value)) for key, value in fields.items()}
