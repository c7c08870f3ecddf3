"""One page that shows a study: rankings, charts, tables, pictures, protocol cards and commands."""

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
from difflab.metric.direction import higher_is_better, title
from difflab.report.charts import noise_level_chart, quality_chart, varied_factors
from difflab.report.costs import COSTS, devices_note
from difflab.report.few_steps import residual_charts, straightness_chart
from difflab.report.gallery import Gallery, by_numbers, gallery
from difflab.report.ranking import Place, ranking
from difflab.report.reading import READING, any_error, bars, difference_text, divergences
from difflab.report.record import PICTURES
from difflab.report.study import Cell, Group, Study
from difflab.report.text import as_text, counted, nfe_text, repetitions_text

HEADINGS = {
    "samples": (
        "Samples from the same noise",
        "The first samples of the first seed. The same place in two pictures started from the same noise.",
    ),
    "steps": (
        "From noise to data",
        "The network's estimates of x0 for the first samples, from noise to data.",
    ),
    "pairs": (
        "Nearest training samples",
        "Above, the generated samples nearest to training samples; below each, its nearest training sample.",
    ),
}


@dataclass(frozen=True)
class Entry:
    """One value of a table: as text, and as the number that it is sorted by."""

    text: str
    value: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Section:
    """The part of the page about the cells of one protocol."""

    study: Study
    group: Group
    name: str

    @property
    def rankings(self) -> dict[str, list[list[Place]]]:
        """By metric, a ranking at each NFE."""
        rankings = {}
        for metric in self.group.metrics:
            each = [ranking(self.group.with_metric(metric), metric, nfe) for nfe in self.group.nfes]
            rankings[metric] = [places for places in each if places]
        return rankings

    @property
    def repeated(self) -> bool:
        """Whether any cell has several seeds."""
        return any(len(cell.records) > 1 for cell in self.group.cells)

    @cached_property
    def charts(self) -> dict[str, dict[str, Figure]]:
        """By metric, the charts by their names on the page."""
        study, group = self.study, self.group
        return {
            metric: {f"{self.name}-{metric}-{cost}": quality_chart(study, group, metric, cost) for cost in COSTS}
            for metric in group.metrics
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

    @property
    def columns(self) -> list[str]:
        """The headings of the table."""
        return list(self.row(self.group.cells[0]))

    def row(self, cell: Cell) -> dict[str, Entry]:
        """The entries of a cell in the table, by column."""
        columns = {"NFE": Entry(nfe_text(cell.nfe), cell.nfe)}
        for metric in self.group.metrics:
            columns[metric] = Entry("")
            if metric in cell.metrics:
                value = cell.estimate(metric)
                number = value.mean if math.isfinite(value.mean) else None
                columns[metric] = Entry(str(value), number, repetitions_text(value))
        return columns | cost_entries(cell)


def texts(fields: Mapping[str, Any]) -> dict[str, str]:
    """The fields of a card as text."""
    return {key: as_text(value) for key, value in fields.items()}


def cost_entries(cell: Cell) -> dict[str, Entry]:
    """The costs of a cell and its number of seeds; an empty entry where a cost was not measured."""
    cost, training = cell.cost, cell.training
    evaluations, runs = counted(len(cell.records), "evaluation"), counted(len(cell.runs), "training")
    return {
        "NFE counted": entry("{:.4g}", cost.get("nfe")),
        "s a sample": entry("{:.2g}", cost.get("seconds_per_sample"), note=", ".join(sorted(cell.devices))),
        "network share": entry("{:.0%}", cost.get("network_share")),
        "peak memory, MiB": entry("{:,.0f}", cost.get("peak_memory"), 2**20),
        "training images": training_entry(training, "images_seen"),
        "training NFE": training_entry(training, "evaluations"),
        "training s": training_entry(training, "seconds"),
        "seeds": Entry(f"{len(cell.runs)}", len(cell.runs), f"{evaluations} of {runs}"),
    }


def training_entry(training: Mapping[str, float], key: str) -> Entry:
    """A cost of the whole training: also of the runs that it started from, or that taught it, which the note states."""
    if (before := training.get(f"{key}_before")) is None:
        return entry("{:,.0f}", training.get(key))
    return entry("{:,.0f}", training[key] + before, note=f"{before:,.0f} of them in the runs that it is made from")


def entry(form: str, value: float | None, unit: float = 1, note: str = "") -> Entry:
    """A number, printed in a format and a unit."""
    return Entry("") if value is None else Entry(form.format(value / unit), value, note)


def facts(study: Study) -> list[str]:
    """The size of the study, and the versions of difflab that measured and wrote it."""
    records = [record for cell in study.cells for record in cell.records]
    versions = sorted({record.card.versions.get("difflab", "of unknown version") for record in records})
    return [
        counted(len({record.run.folder for record in records}), "run"),
        counted(len({record.seed for record in records}), "training seed"),
        counted(len(records), "evaluation"),
        counted(len(study.groups), "protocol"),
        f"measured by difflab {', '.join(versions)}",
        f"written on {datetime.now().astimezone():%d %B %Y at %H:%M} by difflab {version('difflab')}",
    ]


def page_title(study: Study) -> str:
    """The factors that vary: `paradigm × sampler × NFE`."""
    nfe = ["NFE"] if len({cell.nfe for cell in study.cells}) > 1 else []
    return " × ".join([*study.distinguishing, *nfe]) or study.label(study.cells[0])


def factor_values(study: Study, key: str) -> list[str]:
    """The values of a factor, numbers in their order."""
    return sorted({cell.factors[key] for cell in study.cells}, key=by_numbers)


def script(charts: Mapping[str, Figure]) -> Markup:
    """Figures as JSON that cannot end the script element around it; NaN becomes null."""
    return Markup(json.dumps(charts, cls=PlotlyJSONEncoder).replace("<", "\\u003c"))


def asset(name: str) -> str:
    """The text of one of the page's files in this package."""
    return files("difflab.report").joinpath(name).read_text(encoding="utf-8")


def write_page(study: Study, folder: Path) -> Path:
    """Write `folder/index.html`, which needs no other file and no network; return its path."""
    names = [f"{k}" for k in range(1, len(study.groups) + 1)]
    sections = [Section(study, group, name) for group, name in zip(study.groups, names, strict=True)]
    charts = {key: chart for s in sections for named in s.charts.values() for key, chart in named.items()}
    charts["noise-levels"] = noise_level_chart(study)
    residuals = residual_charts(study)
    charts |= {f"residual of {label}": chart for label, chart in residuals.items()}
    if straightness := straightness_chart(study):
        charts["straightness"] = straightness
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"metric_title": title, "counted": counted, "nfe_text": nfe_text}
    page = environment.from_string(asset("page.html.jinja")).render(
        study=study,
        sections=sections,
        facts=facts(study),
        factor_values=factor_values,
        title=page_title(study),
        headings=HEADINGS,
        costs=list(COSTS.values()),
        metrics=list(dict.fromkeys(metric for group in study.groups for metric in group.metrics)),
        higher_is_better=higher_is_better,
        bars=bars,
        reading=READING,
        any_error=any_error,
        difference_text=difference_text,
        divergences=divergences,
        varied_factors=varied_factors,
        residuals={label: chart.data[0].meta["factors"] for label, chart in residuals.items()},
        straightness=straightness is not None,
        figures=script(charts),
        style=Markup(asset("page.css")),
        plotly=Markup(get_plotlyjs()),
        code=Markup(asset("page.js")),
    )
    return write_text(folder / "index.html", page)
