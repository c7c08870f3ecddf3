"""A study as tables: a tidy one for programs, and rankings for readers, with the protocol below."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from difflab.metric import higher_is_better, title
from difflab.report.costs import asked, unlike_devices
from difflab.report.evaluation import Evaluation
from difflab.report.statistics import NOISE, Place, ranking
from difflab.report.study import Cell, Group, Study

LATEX = {"^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "\\": r"\textbackslash{}"}  # others by a backslash
HASH = re.compile(r"\b[0-9a-f]{64}\b")


def tidy(study: Study) -> list[dict[str, Any]]:
    """A row an evaluation: its factors, seeds, metrics, costs, card and commands."""
    return [line(cell, evaluation) for cell in study.cells for evaluation in cell.evaluations]


def line(cell: Cell, evaluation: Evaluation) -> dict[str, Any]:
    """The row of one evaluation."""
    return {
        "run": evaluation.run.folder.name,
        "evaluation": evaluation.name,
        **cell.factors,
        "nfe": cell.nfe,
        "seed": evaluation.seed,
        "noise_seed": evaluation.noise_seed,
        **evaluation.metrics,
        **{f"cost_{key}": value for key, value in evaluation.cost.items()},
        **{f"training_{key}": value for key, value in evaluation.result.get("training", {}).items()},
        **{f"card_{key}": value for key, value in evaluation.card.to_dict().items()},
        "training_command": evaluation.config["command"],
        "command": evaluation.command,
    }


def write_csv(study: Study, path: Path) -> Path:
    """Write the tidy table; return its path."""
    rows = tidy(study)
    columns = dict.fromkeys(key for row in rows for key in row)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(columns))
        writer.writeheader()
        writer.writerows(rows)
    return path


@dataclass(frozen=True)
class Ranked:
    """The rankings of one group by one metric, at each number of evaluations that was asked for."""

    study: Study
    group: Group
    metric: str

    @property
    def title(self) -> str:
        """What is ranked, and what sets this group apart from the others."""
        apart = ", ".join(f"{key} {brief(value)}" for key, value in self.group.differing.items())
        direction = "higher" if higher_is_better(self.metric) else "lower"
        return f"{title(self.metric)}, {direction} is better" + (f": {apart}" if apart else "")

    @property
    def places(self) -> list[Place]:
        """By rising number of evaluations, then by rank."""
        cells = self.group.having(self.metric)
        return [place for nfe in self.group.nfes for place in ranking(cells, self.metric, nfe)]

    @property
    def rows(self) -> list[dict[str, str]]:
        """The cells of the table as text, the same columns in each; the best values between asterisks."""
        floor = self.group.floor(self.metric)
        floors = {} if floor is None else {"real against real": f"{floor:.4g}"}
        unlike = bool(unlike_devices(self.group.cells))
        found = [
            {**self.row(place), **floors, **spent(place.cell), **(device(place.cell) if unlike else {})}
            for place in self.places
        ]
        columns = dict.fromkeys(key for row in found for key in row)
        return [
            {**{key: row.get(key, "") for key in columns}, "against the best": place.says}
            for row, place in zip(found, self.places, strict=True)
        ]

    def row(self, place: Place) -> dict[str, str]:
        """What is ranked, and its value."""
        value = f"{place.value}{'†' * (place.value.known and place.value.over == NOISE)}"
        return {
            "NFE": asked(place.cell.nfe),
            "": self.study.label(place.cell),
            self.metric: f"**{value}**" if place.verdict is None else value,
            "seeds": f"{place.value.n}",
        }

    @property
    def notes(self) -> list[str]:
        """How to read it, and the protocol."""
        read = [
            "Mean ± half of the 95 % interval over training seeds (Student's t).",
            "At each NFE the others are held against the best, at common seeds of training and noise: one is worse if "
            "it lies farther off than equals do in 95 % of studies (Tukey's range, as the numbers chose the best; the "
            "variance pooled over all, by ratio where all are positive), and inconclusive otherwise. Where not all "
            "share two seeds, each is compared with the best alone (paired t, corrected for all pairs).",
        ]
        if 0 in self.group.nfes:
            read.append("By tolerance: each took the evaluations that its own tolerance asked for, as counted.")
        if unlike := unlike_devices(self.group.cells):
            read.append(unlike)
        if any(place.value.known and place.value.over == NOISE for place in self.places):
            read.append("† One training: the interval is over noise seeds, of sampling noise only.")
        protocol = ", ".join(f"{key} {brief(value)}" for key, value in self.group.protocol.items())
        return [*read, f"Protocol: {protocol}."]


def spent(cell: Cell) -> dict[str, str]:
    """What a cell cost: means over its evaluations and runs."""
    training = {"training images": "images_seen", "training seconds": "seconds"}
    return {
        "NFE counted": f"{cell.cost['nfe']:.4g}",
        "s a sample": f"{cell.cost['seconds_per_sample']:.2g}",
        **{name: f"{cell.training[key]:.0f}" for name, key in training.items() if key in cell.training},
    }


def device(cell: Cell) -> dict[str, str]:
    """What its times were taken on."""
    return {"device": ", ".join(sorted(cell.devices))}


def brief(text: str) -> str:
    """A text with its hashes cut to 12 digits."""
    return HASH.sub(lambda found: found[0][:12], text)


def rankings(study: Study, metric: str | None) -> Iterator[Ranked]:
    """The rankings of each group by a metric, by default the first that the group has."""
    for group in study.groups:
        for found in [key for key in group.metrics if metric in (None, key)][:1]:
            yield Ranked(study, group, found)


def markdown(study: Study, metric: str | None = None) -> str:
    """The rankings as Markdown."""
    return "\n".join(
        f"### {ranked.title}\n\n{table(ranked, 'pipe')}\n\n{chr(10).join(f'- {note}' for note in ranked.notes)}\n"
        for ranked in rankings(study, metric)
    )


def latex(study: Study, metric: str | None = None) -> str:
    """The rankings as LaTeX: needs the package booktabs."""
    return "\n".join(
        f"\\begin{{table}}\n\\centering\\small\n\\caption{{{escaped(ranked.title)}}}\n"
        f"{printed(table(ranked, 'latex_booktabs'))}\n\n\\smallskip\\footnotesize\n"
        f"{chr(10).join(escaped(note) for note in ranked.notes)}\n\\end{{table}}\n"
        for ranked in rankings(study, metric)
    )


def table(ranked: Ranked, form: str) -> str:
    """The rows in one of tabulate's formats."""
    text: str = tabulate(ranked.rows, headers="keys", tablefmt=form, disable_numparse=True)
    return text


def printed(text: str) -> str:
    """LaTeX's spelling of our signs."""
    bold = re.sub(r"\*\*(.+?)\*\*", r"\\textbf{\1}", text)
    return bold.replace("±", r"$\pm$").replace("†", r"$^\dagger$")


def escaped(text: str) -> str:
    """A text as LaTeX prints it."""
    return printed(re.sub(r"[_%&#{}$^~\\]", lambda found: LATEX.get(found[0], f"\\{found[0]}"), text))
