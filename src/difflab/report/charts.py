"""The charts of the page, as plotly figures; each trace carries the factors that the page filters it by."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

from plotly import graph_objects as go
from plotly.subplots import make_subplots

from difflab.metric.direction import higher_is_better
from difflab.report.costs import COSTS
from difflab.report.factors import SAMPLED
from difflab.report.noise_levels import Curve, configured_weight, denoising_errors, schedule_of, time_share
from difflab.report.statistics import Interval, shown
from difflab.report.study import Cell, Group, Study
from difflab.report.style import FLOOR, FRONT, Styles
from difflab.report.text import nfe_text, repetitions_text

LEVELS = ("share of the time axis, 0 at data", "weight of an error in eps", "held-out error in eps")


def varied_factors(study: Study, cell: Cell) -> dict[str, str]:
    """The factors by which the page filters all that belongs to a cell."""
    return {key: cell.factors[key] for key in study.varied}


def quality_chart(study: Study, group: Group, metric: str, cost: str) -> go.Figure:
    """A metric against a cost of sampling: a trace for each series, with intervals, and the floor."""
    figure, styles, drawn = go.Figure(), Styles.of(study), group.with_metric(metric)
    for label, cells in study.series(group).items():
        if measured := [cell for cell in cells if metric in cell.metrics]:
            first, name = measured[0], html.escape(label, quote=False)
            figure.add_scatter(
                **points(measured, metric, cost),
                mode="lines+markers",
                name=name,
                hovertemplate=f"<b>{name}</b><br>%{{customdata}}<br>%{{x:.3g}} {COSTS[cost]}<extra></extra>",
                meta={"factors": varied_factors(study, first)},
                **styles.series(study.training_label(first), study.sampling_label(first)).plotly,
            )
    floor = group.floor(metric)
    if floor and floor.value is not None:
        ends = [pick([cell.cost[cost] for cell in drawn]) for pick in (min, max)]
        figure.add_scatter(
            x=ends, y=[floor.value] * 2, mode="lines", name=f"floor: real against real, {floor.at}", **FLOOR.plotly
        )
    better = "higher" if higher_is_better(metric) else "lower"
    figure.update_layout(layout(), meta={"better": better, "front": FRONT.plotly})
    figure.update_xaxes(title=COSTS[cost], **logarithmic_axis([cell.cost[cost] for cell in drawn]))
    figure.update_yaxes(**value_axis([cell.estimate(metric).mean for cell in drawn]))
    return figure


def points(cells: Sequence[Cell], metric: str, cost: str) -> dict[str, Any]:
    """The coordinates of a series, and the text of each point."""
    values = [cell.estimate(metric) for cell in cells]
    pairs = zip(values, cells, strict=True)
    text = [f"{value}, nfe={nfe_text(cell.nfe)}, {repetitions_text(value)}" for value, cell in pairs]
    x = [cell.cost[cost] for cell in cells]
    return {"x": x, "y": [value.mean for value in values], "error_y": error_bars(values), "customdata": text}


def error_bars(values: Sequence[Interval]) -> dict[str, Any]:
    """Intervals as error bars; none where there is no interval."""
    ends = {"array": [v.high - v.mean for v in values], "arrayminus": [v.mean - v.low for v in values]}
    known = {side: [None if math.isnan(each) else each for each in lengths] for side, lengths in ends.items()}
    return {**known, "symmetric": False, "thickness": 1.2, "width": 4}


def value_axis(values: Sequence[float]) -> dict[str, Any]:
    """A logarithmic axis if positive values span half an order of magnitude; else a linear one."""
    finite = [value for value in values if math.isfinite(value)]
    wide = bool(finite) and min(finite) > 0 and max(finite) > 3 * min(finite)
    return logarithmic_axis(finite) if wide else {"type": "linear"}


def logarithmic_axis(values: Sequence[float]) -> dict[str, Any]:
    """A logarithmic axis with 1, 2 and 5 of each power of ten in plain numbers."""
    powers = range(math.floor(math.log10(min(values))) - 1, math.ceil(math.log10(max(values))) + 1)
    ticks = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    return {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}


def layout() -> dict[str, Any]:
    """The layout that all charts share; the page sets the colours of axes and text, and the height of the legend."""
    legend = {"orientation": "h", "yref": "container", "yanchor": "bottom", "y": 0, "xref": "paper", "x": 0}
    return {
        "template": "none",
        "margin": {"l": 52, "r": 12, "t": 24, "b": 60},
        "hovermode": "closest",
        "legend": legend,
    }


def noise_level_chart(study: Study) -> go.Figure:
    """The time, the effective weight and the held-out error of each training, on one axis of log-SNR."""
    figure = make_subplots(rows=3, shared_xaxes=True, vertical_spacing=0.07, subplot_titles=LEVELS)
    styles, factors = Styles.of(study), training_factors(study)
    for label, runs in study.trainings().items():
        schedule = schedule_of(runs[0])
        trace = {"name": html.escape(label, quote=False), "legendgroup": label, "meta": {"factors": factors[label]}}
        trace |= styles.training(label).plotly
        curves = {1: time_share(schedule), 2: configured_weight(schedule, runs[0].config["model"])}
        for row, curve in curves.items():
            if curve:
                figure.add_scatter(**xy(curve), mode="lines", showlegend=row == 1, row=row, col=1, **trace)
        errors = [(level, shown(values, 0, math.inf)) for level, values in sorted(denoising_errors(runs).items())]
        curve = Curve([level for level, _ in errors], [value.mean for _, value in errors])
        bars = error_bars([value for _, value in errors])
        figure.add_scatter(**xy(curve), error_y=bars, mode="lines+markers", showlegend=False, row=3, col=1, **trace)
    figure.update_layout(layout())
    figure.update_annotations(x=0, xanchor="left", font={"size": 13})
    figure.update_yaxes(type="log", dtick=1, exponentformat="none", row=2)
    figure.update_yaxes(type="log", dtick=1, exponentformat="none", row=3)
    figure.update_xaxes(title="log-SNR (noise to data)", row=3, col=1)
    return figure


def xy(curve: Curve) -> dict[str, list[float]]:
    """A curve as the coordinates of a trace."""
    return {"x": curve.log_snr, "y": curve.value}


def training_factors(study: Study) -> dict[str, Mapping[str, str]]:
    """The factors by which each training is filtered: without those of sampling."""
    keys = [key for key in study.varied if key not in SAMPLED]
    return {study.training_label(cell): {key: cell.factors[key] for key in keys} for cell in study.cells}
