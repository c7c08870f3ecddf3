"""A study as tables: a tidy table for programs, and rankings for readers with the protocol below."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any

from difflab.experiment.parts.errors import printable
from difflab.metric.direction import better, meaning, title
from difflab.report.cell import Cell
from difflab.report.costs import SPENT, devices_note
from difflab.report.group import Group
from difflab.report.ranking import Place, ranking
from difflab.report.reached import reached_text, target_of
from difflab.report.reading import READING, any_error, difference_text
from difflab.report.record import Record
from difflab.report.statistics import NOISE
from difflab.report.study import Study
from difflab.report.text import csv_cell, in_markdown, nfe_text, short_hashes


def tidy(study: Study) -> list[dict[str, Any]]:
    """A row for each evaluation: its factors, seeds, metrics, costs, card and commands."""
    return [tidy_row(cell, record) for cell in study.cells for record in cell.records]


def tidy_row(cell: Cell, record: Record) -> dict[str, Any]:
    """The row of one record."""
    return {
        "run": record.run.folder.name,
        "evaluation": record.name,
        **cell.factors,
        "nfe": cell.nfe,
        "seed": record.seed,
        "noise_seed": record.noise_seed,
        **record.metrics,
        **{f"cost_{key}": value for key, value in record.cost.items()},
        **{f"training_{key}": value for key, value in record.result.get("training", {}).items()},
        **{f"card_{key}": value for key, value in record.card.to_dict().items()},
        "training_command": record.config["command"],
        "command": record.command,
    }


def write_csv(study: Study, path: Path) -> Path:
    """Write the tidy table; return its path."""
    rows = tidy(study)
    columns = dict.fromkeys(key for row in rows for key in row)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(map(csv_cell, columns))
        writer.writerows([csv_cell(row.get(key, "")) for key in columns] for row in rows)
    return path


@dataclass(frozen=True)
class RankingTable:
    """The rankings of one group by one metric, at each NFE."""

    study: Study
    group: Group
    metric: str
    asked: float | None = None  # the value of it to be reached; None: twice the floor

    @property
    def title(self) -> str:
        """The metric, and the fields in which the protocol differs from those of the other groups."""
        fields = ", ".join(f"{key} {short_hashes(value)}" for key, value in self.group.differing.items())
        return f"{title(self.metric)}, {better(self.metric)}" + (f": {fields}" if fields else "")

    @cached_property
    def places(self) -> list[Place]:
        """By rising NFE, then by rank."""
        cells = self.group.with_metric(self.metric)
        return [place for nfe in self.group.nfes for place in ranking(cells, self.metric, nfe)]

    @property
    def rows(self) -> list[dict[str, str]]:
        """The rows of the table as text, with the same columns in each; the best values between asterisks."""
        floor = self.group.floor(self.metric)
        floors = {"real against real": "none" if floor.value is None else str(floor)} if floor else {}
        several = len(self.group.devices) > 1
        places = self.places
        rows = [
            {**self.row(place), **floors, **costs_row(place.cell), **(device_row(place.cell) if several else {})}
            for place in places
        ]
        columns = dict.fromkeys(key for row in rows for key in row)
        return [
            {
                **{key: row.get(key, "") for key in columns},
                "from the best": difference_text(place.verdict) if place.verdict else "",
                "against the best": place.outcome,
            }
            for row, place in zip(rows, places, strict=True)
        ]

    def row(self, place: Place) -> dict[str, str]:
        """The label of a cell and its value."""
        value = marked(place)
        return {
            "NFE": nfe_text(place.cell.nfe),
            "": self.study.label(place.cell),
            title(self.metric): f"**{value}**" if place.verdict is None else value,
            "seeds": f"{place.value.n}",
        }

    @property
    def notes(self) -> list[str]:
        """How to read the table, and the protocol."""
        notes = [
            *READING,
            f"Of several metrics choose one before the study: over {len(self.group.metrics)} together up to "
            f"{any_error(len(self.group.metrics)):.0%} of studies contain an error.",
        ]
        notes += [
            f"{self.study.label(place.cell)}, NFE {nfe_text(place.cell.nfe)}: ‡ {place.note}."
            for place in self.places
            if place.note
        ]
        if (floor := self.group.floor(self.metric)) and floor.value is None:
            notes.append(f"No floor: {floor.at}.")
        notes += [f"{note[:1].upper()}{note[1:]}." for note in self.group.notes(self.metric)]
        if 0 in self.group.nfes:
            notes.append("By tolerance: the NFE of an adaptive sampler follows from its tolerance, and was counted.")
        if note := devices_note(self.group.devices):
            notes.append(note)
        if any(place.value.known and place.value.over == NOISE for place in self.places):
            notes.append("† One training: the interval is over noise seeds and covers sampling noise only.")
        if target := target_of(self.group, self.metric, self.asked):
            notes.append(reached_text(self.study, self.group, target))
        protocol = ", ".join(f"{key} {short_hashes(value)}" for key, value in self.group.protocol.items())
        return [*notes, f"Protocol: {protocol}."]


def marked(place: Place) -> str:
    """The value of a place, with the signs that the notes explain."""
    over_noise = place.value.known and place.value.over == NOISE
    return f"{place.value}{'†' * over_noise}{'‡' * (place.diverged is not None)}"


def costs_row(cell: Cell) -> dict[str, str]:
    """The costs of a cell: means over its evaluations and runs, with what the runs cost that it is made from."""
    spent = cell.training
    return {
        "NFE counted": f"{cell.cost['nfe']:.4g}",
        "s a sample": f"{cell.cost['seconds_per_sample']:.2g}",
        **{name: f"{spent[key] + spent.get(f'{key}_before', 0):.0f}" for name, key in SPENT.items() if key in spent},
    }


def device_row(cell: Cell) -> dict[str, str]:
    """The devices that the times of a cell were measured on."""
    return {"device": ", ".join(sorted(cell.devices))}


def ranking_tables(study: Study, metric: str | None = None, target: float | None = None) -> Iterator[RankingTable]:
    """The rankings of each group that has the metric; by default by the first metric of each group.

    `target` is the value of it to be reached, by default twice its floor.
    """
    for group in study.groups:
        for key in [key for key in group.metrics if metric in (None, key)][:1]:
            yield RankingTable(study, group, key, target)


def markdown(study: Study, metric: str | None = None, target: float | None = None) -> str:
    """The rankings as Markdown."""
    return "\n".join(
        f"### {in_markdown(ranked.title)}\n\n{meaning(ranked.metric)}\n\n{rendered(ranked, 'pipe')}\n\n"
        f"{chr(10).join(f'- {in_markdown(note)}' for note in ranked.notes)}\n"
        for ranked in ranking_tables(study, metric, target)
    )


def rendered(ranked: RankingTable, form: str) -> str:
    """The rows in one of tabulate's formats."""
    from tabulate import tabulate

    rows = [{in_markdown(key): in_markdown(value) for key, value in row.items()} for row in ranked.rows]
    text: str = tabulate(rows, headers="keys", tablefmt=form, disable_numparse=True)
    return text


def print_ranking(ranked: RankingTable) -> None:
    """Print a ranking and its notes on the terminal, the best of each NFE in bold."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    rows = ranked.rows
    table = Table(*rows[0], title=ranked.title)
    for row, following in zip_longest(rows, rows[1:]):
        cells = (escape(printable(text.replace("**", ""))) for text in row.values())
        last = following is not None and following["NFE"] != row["NFE"]
        table.add_row(*cells, style="bold" if row["against the best"] == "best" else "", end_section=last)
    console = Console(width=None if Console().is_terminal else 200)
    console.print(table)
    for note in ranked.notes:
        console.print(printable(note), markup=False, highlight=False)
