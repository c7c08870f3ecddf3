"""One page that shows a study: what is best, by how much, at what cost, how it looks, and how to make it again."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from plotly.graph_objects import Figure
from plotly.offline import get_plotlyjs
from plotly.utils import PlotlyJSONEncoder

from difflab.experiment.files import write_text
from difflab.metric import higher_is_better, title
from difflab.report.charts import quality, repeats, spectrum, varying
from difflab.report.costs import COSTS, asked, unlike_devices
from difflab.report.evaluation import PICTURES
from difflab.report.factors import shown
from difflab.report.gallery import Gallery, gallery, numbers
from difflab.report.statistics import Place, ranking
from difflab.report.study import Cell, Group, Study

HEADINGS = {
    "samples": (
        "Samples from the same noise",
        "The first samples of the first seed: each place of each picture started from one noise.",
    ),
    "steps": ("From noise to data", "What the network took the first samples to be, at times from noise to data."),
    "pairs": (
        "Nearest training samples",
        "Above, the generated samples that come nearest to training samples; below each its neighbour.",
    ),
}


@dataclass(frozen=True)
class Entry:
    """One value of a cell: in words, and as the number that it is sorted by."""

    text: str
    value: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Section:
    """The cells of one protocol, which are ranked among themselves alone."""

    study: Study
    group: Group
    name: str

    @property
    def rankings(self) -> dict[str, list[list[Place]]]:
        """By metric, at each number of evaluations."""
        found = {}
        for metric in self.group.metrics:
            each = [ranking(self.group.having(metric), metric, nfe) for nfe in self.group.nfes]
            found[metric] = [places for places in each if places]
        return found

    @property
    def repeated(self) -> bool:
        """Whether anything was done with several seeds."""
        return any(len(cell.evaluations) > 1 for cell in self.group.cells)

    @cached_property
    def charts(self) -> dict[str, dict[str, Figure]]:
        """By metric, the charts by their names on the page."""
        return {
            metric: {f"{self.name}-{metric}-{cost}": quality(self.study, self.group, metric, cost) for cost in COSTS}
            for metric in self.group.metrics
        }

    @property
    def unlike_devices(self) -> str:
        """That the times are of different devices, where they are."""
        return unlike_devices(self.group.cells)

    @property
    def galleries(self) -> dict[str, Gallery]:
        """The pictures, of the kinds that there are."""
        found = {kind: gallery(self.study, self.group, kind) for kind in PICTURES}
        return {kind: each for kind, each in found.items() if each.rows}

    @property
    def cards(self) -> tuple[dict[str, str], list[dict[str, str]]]:
        """The fields of the cards that all evaluations share; and the others, of each."""
        evaluations = [evaluation for cell in self.group.cells for evaluation in cell.evaluations]
        cards = [{"run": e.run.folder.name, "card": e.name, **plain(e.card.to_dict())} for e in evaluations]
        common = {key: value for key, value in cards[0].items() if all(card[key] == value for card in cards)}
        return common, [{key: value for key, value in card.items() if key not in common} for card in cards]

    @property
    def title(self) -> str:
        """What it is called: by number, where there are several."""
        return f"Protocol {self.name}" if len(self.study.groups) > 1 else "Quality and cost"

    @property
    def columns(self) -> list[str]:
        """The headings of the table."""
        return list(self.row(self.group.cells[0]))

    def row(self, cell: Cell) -> dict[str, Entry]:
        """What the table says of a cell besides its name."""
        columns = {"NFE": Entry(asked(cell.nfe), cell.nfe)}
        for metric in self.group.metrics:
            columns[metric] = Entry("")
            if metric in cell.metrics:
                value = cell.estimate(metric)
                columns[metric] = Entry(str(value), value.mean if math.isfinite(value.mean) else None, repeats(value))
        return columns | spent(cell)


def plain(fields: Mapping[str, Any]) -> dict[str, str]:
    """The fields of a card in words."""
    return {key: shown(value) for key, value in fields.items()}


def spent(cell: Cell) -> dict[str, Entry]:
    """What a cell cost, and how often it was done; an empty entry where that was not taken down."""
    cost, training = cell.cost, cell.training
    evaluations, runs = several(len(cell.evaluations), "evaluation"), several(len(cell.runs), "training")
    return {
        "NFE counted": entry("{:.4g}", cost.get("nfe")),
        "s a sample": entry("{:.2g}", cost.get("seconds_per_sample"), note=", ".join(sorted(cell.devices))),
        "network share": entry("{:.0%}", cost.get("network_share")),
        "peak memory, MiB": entry("{:,.0f}", cost.get("peak_memory"), 2**20),
        "training images": entry("{:,.0f}", training.get("images_seen")),
        "training s": entry("{:,.0f}", training.get("seconds")),
        "seeds": Entry(f"{len(cell.runs)}", len(cell.runs), f"{evaluations} of {runs}"),
    }


def entry(form: str, value: float | None, unit: float = 1, note: str = "") -> Entry:
    """A number as it is printed and sorted."""
    return Entry("") if value is None else Entry(form.format(value / unit), value, note)


def several(number: int, noun: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{number} {noun}" + "s" * (number != 1)


def facts(study: Study) -> list[str]:
    """What was compared, in short."""
    evaluations = [evaluation for cell in study.cells for evaluation in cell.evaluations]
    measured = sorted({evaluation.card.versions.get("difflab", "of unknown version") for evaluation in evaluations})
    return [
        several(len({evaluation.run.folder for evaluation in evaluations}), "run"),
        several(len({evaluation.seed for evaluation in evaluations}), "training seed"),
        several(len(evaluations), "evaluation"),
        several(len(study.groups), "protocol"),
        f"measured by difflab {', '.join(measured)}",
        f"written on {datetime.now().astimezone():%d %B %Y at %H:%M} by difflab {version('difflab')}",
    ]


def heading(study: Study) -> str:
    """What varies: `paradigm × sampler × NFE`."""
    nfe = ["NFE"] if len({cell.nfe for cell in study.cells}) > 1 else []
    return " × ".join([*study.told, *nfe]) or study.label(study.cells[0])


def values(study: Study, key: str) -> list[str]:
    """The values of a factor, numbers in their order."""
    return sorted({cell.factors[key] for cell in study.cells}, key=numbers)


def script(charts: Mapping[str, Figure]) -> Markup:
    """Figures as JSON that cannot end the script element that holds it; what is no number is null there."""
    return Markup(json.dumps(charts, cls=PlotlyJSONEncoder).replace("<", "\\u003c"))


def asset(name: str) -> str:
    """The text of a file of the page's own."""
    return files("difflab.report").joinpath(name).read_text(encoding="utf-8")


def write(study: Study, folder: Path) -> Path:
    """Write `folder/index.html`, which needs no other file and no network; return its path."""
    names = [f"{k}" for k in range(1, len(study.groups) + 1)]
    sections = [Section(study, group, name) for group, name in zip(study.groups, names, strict=True)]
    charts = {key: chart for s in sections for named in s.charts.values() for key, chart in named.items()}
    charts["spectrum"] = spectrum(study)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"in_words": title, "several": several, "asked": asked}
    page = environment.from_string(asset("page.html.jinja")).render(
        study=study,
        sections=sections,
        facts=facts(study),
        values=values,
        title=heading(study),
        headings=HEADINGS,
        costs=list(COSTS.values()),
        metrics=list(dict.fromkeys(metric for group in study.groups for metric in group.metrics)),
        higher_is_better=higher_is_better,
        varying=varying,
        figures=script(charts),
        style=Markup(asset("page.css")),
        plotly=Markup(get_plotlyjs()),
        code=Markup(asset("page.js")),
    )
    return write_text(folder / "index.html", page)
