"""A study as figures for print: quality against cost, the noise levels of the trainings, and the denoising errors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from difflab.metric.direction import better, higher_is_better, title
from difflab.report import ticks
from difflab.report.cell import Cell
from difflab.report.costs import COSTS, devices_note
from difflab.report.group import Group
from difflab.report.noise_levels import denoising_errors
from difflab.report.print import PRINT, print_figure
from difflab.report.ranking import finite, pareto
from difflab.report.statistics import shown
from difflab.report.study import Study
from difflab.report.style import FLOOR, FRONT, Style, Styles
from difflab.report.tables import ranking_tables
from difflab.report.text import in_figure

FORMATS = ("pdf", "svg")


def quality_figure(study: Study, group: Group, metric: str, cost: str) -> Figure:
    """A metric against a cost of sampling: a line a series, intervals over seeds, the floor, the Pareto front."""
    series, drawn, styles = study.series(group), group.with_metric(metric), Styles.of(study)
    figure, axes = blank_figure(height=max(2.9, 0.16 * len(series) + 0.5))
    for label, cells in series.items():
        if measured := [cell for cell in cells if metric in cell.metrics]:
            style = styles.series(study.training_label(measured[0]), study.sampling_label(measured[0]))
            draw_series(axes, measured, metric, cost, label, style)
    if cost == "nfe":
        front = pareto(drawn, metric)
        at = [cell.cost[cost] for cell in front], [cell.estimate(metric).mean for cell in front]
        axes.plot(*at, **FRONT.matplotlib, drawstyle="steps-post", zorder=0, label="Pareto front")
    floor = group.floor(metric)
    if floor and floor.value is not None:
        axes.axhline(floor.value, **FLOOR.matplotlib, label=f"real against real,\n{floor.at}")
    means = [cell.estimate(metric).mean for cell in finite(drawn, metric)]
    lowest = min([*means, *([floor.value] if floor and floor.value is not None else [])], default=0)
    axes.set_xscale("log")
    asked = ticks.asked(group.nfes) if cost == "nfe" else []
    plain_ticks(axes.xaxis, asked or ticks.logarithmic([cell.cost[cost] for cell in drawn]))
    if lowest > 0 and not higher_is_better(metric):
        axes.set_yscale("log")
        axes.set_ylim(bottom=0.8 * lowest)  # an interval of few seeds may reach to zero and below
        plain_ticks(axes.yaxis, ticks.logarithmic([lowest, *means]))
    axes.set(xlabel=COSTS[cost], ylabel=f"{title(metric)}\n{better(metric)}")
    notes = [f"{key}: {value[:60]}" for key, value in group.differing.items()]
    devices = "" if cost == "nfe" else devices_note({device for cell in drawn for device in cell.devices})
    axes.set_title(in_figure("\n".join(filter(None, [*notes, devices]))), loc="left")
    legend_beside(axes)
    return figure


def draw_series(axes: Axes, cells: Sequence[Cell], metric: str, cost: str, label: str, style: Style) -> None:
    """A line through the means, and their intervals."""
    values = [cell.estimate(metric) for cell in cells]
    x = [cell.cost[cost] for cell in cells]
    axes.plot(x, [value.mean for value in values], **style.matplotlib, label=in_figure(label))
    known = [(at, value) for at, value in zip(x, values, strict=True) if value.known]
    axes.vlines(
        [at for at, _ in known],
        [value.low for _, value in known],
        [value.high for _, value in known],
        color=style.colour,
        linewidth=0.7,
        alpha=0.6,
    )


def plain_ticks(axis: Axis, at: Sequence[float]) -> None:
    """Ticks at these values alone, in plain numbers, without moving the limits of the axis."""
    axis.set_major_locator(FixedLocator(list(at)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_locator(NullLocator())


def noise_level_figure(study: Study) -> Figure:
    """Over log-SNR: the share of the time axis of each schedule, and the weight of an error in eps in training."""
    figure, axes = blank_figure(rows=2, height=4.6)
    styles = Styles.of(study)
    for label, runs in study.trainings().items():
        curves = runs[0].summary.time_share, runs[0].summary.weight
        for each, curve in zip(axes, curves, strict=True):
            if curve:
                draw_curve(each, curve, label, styles)
    axes[0].set(ylabel="share of the time axis\n(0: data, 1: noise)")
    axes[1].set(
        xlabel="log-SNR (noise to data)", ylabel="weight of an error in eps\na unit of log-SNR (1 at 0)", yscale="log"
    )
    legend_beside(axes[0])
    return figure


def draw_curve(axes: Axes, curve: Sequence[Sequence[float]], label: str, styles: Styles) -> None:
    """The line of one training, given by its abscissae and ordinates."""
    axes.plot(*curve, **styles.training(label).matplotlib, label=in_figure(label))


def error_figure(study: Study) -> Figure | None:
    """The held-out error of each network by noise level, with intervals over seeds; None if it was not measured."""
    errors = {label: denoising_errors(runs) for label, runs in study.trainings().items()}
    if not any(errors.values()):
        return None
    figure, axes = blank_figure()
    styles = Styles.of(study)
    for label, levels in errors.items():
        at = sorted(levels)
        each = [shown(levels[level], 0, math.inf) for level in at]
        draw_curve(axes, (at, [interval.mean for interval in each]), label, styles)
        low, high = [interval.low for interval in each], [interval.high for interval in each]
        axes.fill_between(at, low, high, color=styles.training(label).colour, alpha=0.15, linewidth=0)
    axes.set(xlabel="log-SNR (noise to data)", ylabel="mean squared error of eps", yscale="log")
    measured = [error for levels in errors.values() for values in levels.values() for error in values.values()]
    if lowest := min(filter(math.isfinite, measured), default=0):
        axes.set_ylim(bottom=0.8 * lowest)
    legend_beside(axes)
    return figure


def blank_figure(rows: int = 1, height: float = 2.9) -> tuple[Figure, Any]:
    """An empty figure of a text's width, and its axes, one above the other."""
    figure = Figure(figsize=(6.3, height), layout="constrained")
    return figure, figure.subplots(rows, sharex=True)


def legend_beside(axes: Axes) -> None:
    """A legend beside the axes, which covers nothing."""
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=7, handlelength=2.6)


def figures(study: Study, metric: str | None = None) -> Iterator[tuple[str, Figure]]:
    """All figures of a study, by name."""
    several = len(study.groups) > 1
    for k, ranked in enumerate(ranking_tables(study, metric), 1):
        suffix = f"-{k}" if several else ""
        for cost, name in zip(COSTS, ("nfe", "seconds"), strict=True):
            yield f"{ranked.metric}-by-{name}{suffix}", quality_figure(study, ranked.group, ranked.metric, cost)
    yield "noise-levels", noise_level_figure(study)
    if figure := error_figure(study):
        yield "denoising-error", figure


def write_figures(study: Study, folder: Path, metric: str | None = None) -> list[Path]:
    """Write all figures as PDF and SVG; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    with matplotlib.rc_context(PRINT):
        for name, figure in figures(study, metric):
            paths += print_figure(figure, folder, name, FORMATS)
    return paths
