"""A study as figures for print: quality against cost, what the trainings looked at, and where the networks err."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from difflab.metric import higher_is_better, title
from difflab.report.costs import COSTS, unlike_devices
from difflab.report.levels import Curve, emphasis, path, schedule_of
from difflab.report.statistics import estimate, finite, pareto
from difflab.report.study import Cell, Group, Study
from difflab.report.tables import rankings
from difflab.report.trainings import by_level, sampling, training, trainings

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")  # Okabe & Ito 2008
STROKES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)))
MARKS = "os^Dv*Px"
GREY = "0.55"
FORMATS = ("pdf", "svg")
STYLE: dict[Any, Any] = {  # by names that matplotlib types one by one
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "pdf.fonttype": 42,  # text stays text
    "svg.fonttype": "none",
    "svg.hashsalt": "difflab",  # the same study, the same file
}


@dataclass(frozen=True)
class Pens:
    """A colour for each training, a stroke and a mark for each way of sampling."""

    trained: tuple[str, ...]
    sampled: tuple[str, ...]
    study: Study

    @classmethod
    def of(cls, study: Study) -> Pens:
        """The pens of a study: the same in all its figures."""
        trained = dict.fromkeys(training(study, cell) for cell in study.cells)
        return cls(tuple(trained), tuple(dict.fromkeys(sampling(study, cell) for cell in study.cells)), study)

    def colour(self, name: str) -> str:
        """The colour of a training."""
        return COLOURS[self.trained.index(name) % len(COLOURS)]

    def __call__(self, cell: Cell) -> dict[str, Any]:
        """How a cell is drawn."""
        k = self.sampled.index(sampling(self.study, cell))
        colour = self.colour(training(self.study, cell))
        return {"color": colour, "linestyle": STROKES[k % len(STROKES)], "marker": MARKS[k % len(MARKS)]}


def quality(study: Study, group: Group, metric: str, cost: str) -> Figure:
    """A metric against a cost of sampling: a line a series, intervals over seeds, the floor, the Pareto front."""
    series, shown, pens = study.series(group), group.having(metric), Pens.of(study)
    figure, axes = blank(height=max(2.9, 0.16 * len(series) + 0.5))
    for label, cells in series.items():
        if measured := [cell for cell in cells if metric in cell.metrics]:
            draw_series(axes, measured, metric, cost, label=label, **pens(measured[0]))
    if cost == "nfe":
        front = pareto(shown, metric)
        at = [cell.cost[cost] for cell in front], [cell.estimate(metric).mean for cell in front]
        axes.plot(*at, color=GREY, linewidth=5, alpha=0.35, solid_capstyle="round", zorder=0, label="Pareto front")
    floor = group.floor(metric)
    if floor is not None:
        axes.axhline(floor, color=GREY, linewidth=0.8, linestyle=(0, (1, 2)), label="real against real")
    means = [cell.estimate(metric).mean for cell in finite(shown, metric)]
    lowest = min(means if floor is None else [*means, floor], default=0)
    axes.set_xscale("log")
    plain_ticks(axes, [nfe for nfe in group.nfes if nfe] if cost == "nfe" else [])
    if lowest > 0 and not higher_is_better(metric):
        axes.set_yscale("log")
        axes.set_ylim(bottom=0.8 * lowest)  # an interval of few seeds may reach to zero and below
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    better = "higher" if higher_is_better(metric) else "lower"
    axes.set(xlabel=COSTS[cost], ylabel=f"{title(metric)}\n{better} is better")
    said = [f"{key}: {value[:60]}" for key, value in group.differing.items()]
    devices = "" if cost == "nfe" else unlike_devices(shown)
    axes.set_title("\n".join(filter(None, [*said, devices])), loc="left")
    beside(axes)
    return figure


def draw_series(axes: Axes, cells: Sequence[Cell], metric: str, cost: str, **pen: Any) -> None:  # noqa: ANN401  # matplotlib's
    """A line through the means, and their intervals."""
    found = [cell.estimate(metric) for cell in cells]
    x, y = [cell.cost[cost] for cell in cells], [each.mean for each in found]
    axes.plot(x, y, **pen)
    known = [(at, each) for at, each in zip(x, found, strict=True) if each.known]
    axes.vlines(
        [at for at, _ in known],
        [each.low for _, each in known],
        [each.high for _, each in known],
        color=pen["color"],
        linewidth=0.7,
        alpha=0.6,
    )


def plain_ticks(axes: Axes, at: Sequence[float]) -> None:
    """Numbers, not powers of ten, on a logarithmic axis."""
    if at:
        axes.set_xticks(at)
    else:
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="x", which="minor", length=0)


def noise_levels(study: Study) -> Figure:
    """Over log-SNR: where the schedules spend their time, and what an error in eps costs in training."""
    figure, axes = blank(rows=2, height=4.6)
    pens = Pens.of(study)
    for name, runs in trainings(study).items():
        schedule = schedule_of(runs[0])
        curve(axes[0], path(schedule), name, pens)
        if weight := emphasis(schedule, runs[0].config["model"]):
            curve(axes[1], weight, name, pens)
    axes[0].set(ylabel="share of the time axis\n(0: data, 1: noise)")
    axes[1].set(
        xlabel="log-SNR (noise to data)", ylabel="weight of an error in eps\na unit of log-SNR (1 at 0)", yscale="log"
    )
    beside(axes[0])
    return figure


def curve(axes: Axes, values: Curve, name: str, pens: Pens) -> None:
    """The line of one training."""
    k = pens.trained.index(name)
    stroke = STROKES[k // len(COLOURS) % len(STROKES)]
    axes.plot(values.log_snr, values.value, color=pens.colour(name), linestyle=stroke, label=name)


def errors(study: Study) -> Figure | None:
    """The held-out error of each network by noise level, with intervals over training seeds; None if none was taken."""
    found = {name: by_level(runs) for name, runs in trainings(study).items()}
    if not any(found.values()):
        return None
    figure, axes = blank()
    pens = Pens.of(study)
    for name, levels in found.items():
        at = sorted(levels)
        each = [estimate(levels[level]) for level in at]
        curve(axes, Curve(at, [interval.mean for interval in each]), name, pens)
        low, high = [interval.low for interval in each], [interval.high for interval in each]
        axes.fill_between(at, low, high, color=pens.colour(name), alpha=0.15, linewidth=0)
    axes.set(xlabel="log-SNR (noise to data)", ylabel="mean squared error of eps", yscale="log")
    measured = [error for levels in found.values() for values in levels.values() for error in values.values()]
    if lowest := min(filter(math.isfinite, measured), default=0):
        axes.set_ylim(bottom=0.8 * lowest)
    beside(axes)
    return figure


def blank(rows: int = 1, height: float = 2.9) -> tuple[Figure, Any]:
    """An empty figure of a text's width, and its axes, one above the other."""
    figure = Figure(figsize=(6.3, height), layout="constrained")
    return figure, figure.subplots(rows, sharex=True)


def beside(axes: Axes) -> None:
    """A legend that covers nothing."""
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=7, handlelength=2.6)


def figures(study: Study, metric: str | None = None) -> Iterator[tuple[str, Figure]]:
    """All figures of a study, by name."""
    several = len(study.groups) > 1
    for k, ranked in enumerate(rankings(study, metric), 1):
        suffix = f"-{k}" if several else ""
        for cost, name in zip(COSTS, ("nfe", "seconds"), strict=True):
            yield f"{ranked.metric}-by-{name}{suffix}", quality(study, ranked.group, ranked.metric, cost)
    yield "noise-levels", noise_levels(study)
    if found := errors(study):
        yield "denoising-error", found


def draw(study: Study, folder: Path, metric: str | None = None) -> list[Path]:
    """Write all figures as PDF and SVG; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with matplotlib.rc_context(STYLE):
        for name, figure in figures(study, metric):
            for form in FORMATS:
                paths.append(folder / f"{name}.{form}")
                figure.savefig(paths[-1], metadata={"CreationDate" if form == "pdf" else "Date": None})
    return paths
