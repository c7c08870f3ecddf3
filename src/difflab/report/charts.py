"""The charts of the page, as plotly.js draws them; each trace carries the factors that the page filters it by."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from difflab.metric.direction import better, title
from difflab.report import ticks
from difflab.report.cell import Cell
from difflab.report.costs import COSTS
from difflab.report.group import Group
from difflab.report.noise_levels import denoising_errors
from difflab.report.statistics import Interval, shown
from difflab.report.study import Study
from difflab.report.style import FLOOR, FRONT, Styles
from difflab.report.text import nfe_text, repetitions_text
from difflab.report.words import is_sampled

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

LEVELS = ("share of the time axis, 0 at data", "weight of an error in eps", "held-out error in eps")
PANELS = ((0.72, 1.0), (0.36, 0.64), (0.0, 0.28))  # of the chart of noise levels, in shares of its height


@dataclass(frozen=True)
class Chart:
    """A chart as plain values: its traces and its layout, in plotly's schema."""

    data: Sequence[Mapping[str, Any]]
    layout: Mapping[str, Any]

    @property
    def figure(self) -> Figure:
        """The chart as a figure of plotly, for a notebook."""
        from plotly.graph_objects import Figure

        return Figure(self.data, self.layout)


def varied_factors(study: Study, cell: Cell) -> dict[str, str]:
    """The factors by which the page filters all that belongs to a cell."""
    return {key: cell.factors[key] for key in study.varied}


def quality_chart(study: Study, group: Group, metric: str, cost: str) -> Chart:
    """A metric against a cost of sampling: a trace for each series, with intervals, and the floor."""
    traces, styles, drawn = [], Styles.of(study), group.with_metric(metric)
    for label, cells in study.series(group).items():
        if measured := [cell for cell in cells if metric in cell.metrics]:
            first, name = measured[0], html.escape(label, quote=False)
            traces.append(
                {
                    **points(measured, metric, cost),
                    "mode": "lines+markers",
                    "name": name,
                    "hovertemplate": f"<b>{name}</b><br>%{{customdata}}<br>%{{x:.3g}} {COSTS[cost]}<extra></extra>",
                    "meta": {"factors": varied_factors(study, first)},
                    **styles.series(study.training_label(first), study.sampling_label(first)).plotly,
                }
            )
    costs, values = [cell.cost[cost] for cell in drawn], [cell.estimate(metric).mean for cell in drawn]
    floor = group.floor(metric)
    if floor and floor.value is not None:
        values.append(floor.value)
        ends = {"x": [min(costs), max(costs)], "y": [floor.value] * 2}
        name = f"floor: real against real, {floor.at}"
        traces.append({"type": "scatter", **ends, "mode": "lines", "name": name, **FLOOR.plotly})
    at = ticks.asked(group.nfes) if cost == "nfe" else []
    axes = {
        "xaxis": {"title": {"text": COSTS[cost]}, **logarithmic_axis(at or ticks.logarithmic(costs))},
        "yaxis": {"title": {"text": f"{title(metric)}<br>{better(metric)}"}, **value_axis(values)},
    }
    meta = {"better": better(metric).split()[0], "front": FRONT.plotly}
    legend = cost == next(iter(COSTS))  # once for the charts of a metric, which stand side by side
    return Chart(traces, layout() | axes | {"meta": meta, "showlegend": legend})


def points(cells: Sequence[Cell], metric: str, cost: str) -> dict[str, Any]:
    """The coordinates of a series, and the text of each point."""
    values = [cell.estimate(metric) for cell in cells]
    pairs = zip(values, cells, strict=True)
    text = [f"{value}, nfe={nfe_text(cell.nfe)}, {repetitions_text(value)}" for value, cell in pairs]
    x, y = [cell.cost[cost] for cell in cells], [value.mean for value in values]
    return {"type": "scatter", "x": x, "y": y, "error_y": error_bars(values), "customdata": text}


def error_bars(values: Sequence[Interval]) -> dict[str, Any]:
    """Intervals as error bars; none where there is no interval."""
    ends = {"array": [v.high - v.mean for v in values], "arrayminus": [v.mean - v.low for v in values]}
    known = {side: [None if math.isnan(each) else each for each in lengths] for side, lengths in ends.items()}
    return {**known, "type": "data", "symmetric": False, "thickness": 1.2, "width": 4}


def value_axis(values: Sequence[float]) -> dict[str, Any]:
    """A logarithmic axis if positive values span half an order of magnitude; else a linear one."""
    finite = [value for value in values if math.isfinite(value)]
    wide = bool(finite) and min(finite) > 0 and max(finite) > 3 * min(finite)
    return logarithmic_axis(ticks.logarithmic(finite)) if wide else {"type": "linear"}


def logarithmic_axis(at: Sequence[float]) -> dict[str, Any]:
    """A logarithmic axis with these ticks, in plain numbers."""
    return {"type": "log", "tickvals": list(at), "ticktext": ticks.texts(at)}


def layout() -> dict[str, Any]:
    """The layout that all charts share; the page sets the colours of axes and text, and the height of the legend."""
    legend = {"orientation": "h", "yref": "container", "yanchor": "bottom", "y": 0, "xref": "paper", "x": 0}
    return {
        "template": "none",
        "margin": {"l": 76, "r": 12, "t": 16, "b": 60},
        "hovermode": "closest",
        "legend": {**legend, "maxheight": 5000},  # in pixels, so that it needs no scroll bar
    }


def noise_level_chart(study: Study) -> Chart:
    """The time, the effective weight and the held-out error of each training, on one axis of log-SNR."""
    traces: list[dict[str, Any]] = []
    styles, factors = Styles.of(study), training_factors(study)
    for label, runs in study.trainings().items():
        common: dict[str, Any] = {"type": "scatter", "name": html.escape(label, quote=False), "legendgroup": label}
        common |= {"meta": {"factors": factors[label]}, "mode": "lines", **styles.training(label).plotly}
        for panel, curve in ((1, runs[0].summary.time_share), (2, runs[0].summary.weight)):
            if curve:
                traces.append({**common, **panel_axes(panel), "x": curve[0], "y": curve[1], "showlegend": panel == 1})
        levels = sorted(denoising_errors(runs).items())
        errors = [shown(values, 0, math.inf) for _, values in levels]
        ends = {"x": [level for level, _ in levels], "y": [error.mean for error in errors]}
        last = {"error_y": error_bars(errors), "mode": "lines+markers", "showlegend": False}
        traces.append({**common, **panel_axes(3), **ends, **last})
    axes: dict[str, Any] = {"xaxis": {"title": {"text": "log-SNR (noise to data)"}, "anchor": "y3"}}
    for panel, domain in enumerate(PANELS, 1):
        values = [y for trace in traces if trace["yaxis"] == panel_axes(panel)["yaxis"] for y in trace["y"]]
        scale = {"type": "linear"} if panel == 1 else decades_axis(values)
        axes["yaxis" if panel == 1 else f"yaxis{panel}"] = {"domain": domain, **scale}
    return Chart(traces, layout() | axes | {"annotations": headings()})


def panel_axes(panel: int) -> dict[str, str]:
    """The axes of a panel of the chart of noise levels, counted from 1."""
    return {"xaxis": "x", "yaxis": "y" if panel == 1 else f"y{panel}"}


def decades_axis(values: Sequence[float]) -> dict[str, Any]:
    """A logarithmic axis with a tick at each power of ten; with more of them where it spans less than two."""
    positive = [value for value in values if 0 < value < math.inf]
    if not positive or max(positive) < 100 * min(positive):
        return logarithmic_axis(ticks.logarithmic(positive))
    return {"type": "log", "dtick": 1, "exponentformat": "none"}


def headings() -> list[dict[str, Any]]:
    """The titles of the panels of the chart of noise levels."""
    place = {"x": 0, "xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "bottom", "showarrow": False}
    tops = zip(LEVELS, PANELS, strict=True)
    return [{"text": text, "y": top, "font": {"size": 13}, **place} for text, (_, top) in tops]


def training_factors(study: Study) -> dict[str, Mapping[str, str]]:
    """The factors by which each training is filtered: without those of sampling."""
    keys = [key for key in study.varied if not is_sampled(key)]
    return {study.training_label(cell): {key: cell.factors[key] for key in keys} for cell in study.cells}
