"""The charts of the page: plotly's figures, each trace with the factors that it is filtered by."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plotly import graph_objects as go
from plotly.subplots import make_subplots

from difflab.metric import higher_is_better
from difflab.report.costs import COSTS, asked
from difflab.report.factors import SAMPLED
from difflab.report.levels import Curve, emphasis, path, schedule_of
from difflab.report.statistics import Interval, estimate
from difflab.report.study import Cell, Group, Study
from difflab.report.trainings import by_level, sampling, training, trainings

COLOURS = ("#3584e4", "#e66100", "#2b9a66", "#c061cb", "#c99700", "#e5484d", "#12a5b8", "#8d6e63")  # on white and black
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x", "star", "cross", "triangle-down")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
LEVELS = ("share of the time axis, 0 at data", "weight of an error in eps", "held-out error in eps")


@dataclass(frozen=True)
class Looks:
    """A colour for each training, a symbol and a dash for each way of sampling; of one training, a colour for these."""

    trained: tuple[str, ...]
    sampled: tuple[str, ...]

    @classmethod
    def of(cls, study: Study) -> Looks:
        """Those of a study: the same in all its charts."""
        trained = dict.fromkeys(training(study, cell) for cell in study.cells)
        return cls(tuple(trained), tuple(dict.fromkeys(sampling(study, cell) for cell in study.cells)))

    def __call__(self, trained: str, sampled: str) -> dict[str, Any]:
        """The properties of a trace."""
        k = self.sampled.index(sampled)
        colour = COLOURS[(self.trained.index(trained) if len(self.trained) > 1 else k) % len(COLOURS)]
        return {
            "line": {"color": colour, "dash": DASHES[k % len(DASHES)], "width": 2},
            "marker": {"color": colour, "symbol": SYMBOLS[k % len(SYMBOLS)], "size": 8},
        }


def varying(study: Study, cell: Cell) -> dict[str, str]:
    """The factors by which what is of a cell is filtered."""
    return {key: cell.factors[key] for key in study.varied}


def quality(study: Study, group: Group, metric: str, cost: str) -> go.Figure:
    """A metric against a cost of sampling, a trace for each series, with intervals; and the floor."""
    figure, looks, shown = go.Figure(), Looks.of(study), group.having(metric)
    for label, cells in study.series(group).items():
        if measured := [cell for cell in cells if metric in cell.metrics]:
            first, name = measured[0], html.escape(label, quote=False)
            figure.add_scatter(
                **curve(measured, metric, cost),
                mode="lines+markers",
                name=name,
                hovertemplate=f"<b>{name}</b><br>%{{customdata}}<br>%{{x:.3g}} {COSTS[cost]}<extra></extra>",
                meta={"factors": varying(study, first)},
                **looks(training(study, first), sampling(study, first)),
            )
    floor = group.floor(metric)
    if floor is not None:
        ends = [pick([cell.cost[cost] for cell in shown]) for pick in (min, max)]
        line = {"color": "#8b949e", "dash": "dash", "width": 1.5}
        figure.add_scatter(x=ends, y=[floor, floor], mode="lines", name="floor: real against real", line=line)
    figure.update_layout(layout(), meta={"better": "higher" if higher_is_better(metric) else "lower"})
    figure.update_xaxes(title=COSTS[cost], **logarithmic([cell.cost[cost] for cell in shown]))
    figure.update_yaxes(**scale([cell.estimate(metric).mean for cell in shown]))
    return figure


def curve(cells: Sequence[Cell], metric: str, cost: str) -> dict[str, Any]:
    """The coordinates of a series, and what is said of each point."""
    values = [cell.estimate(metric) for cell in cells]
    said = [f"{value}, nfe={asked(cell.nfe)}, {repeats(value)}" for value, cell in zip(values, cells, strict=True)]
    x = [cell.cost[cost] for cell in cells]
    return {"x": x, "y": [value.mean for value in values], "error_y": bars(values), "customdata": said}


def repeats(value: Interval) -> str:
    """What an interval is over."""
    return f"{value.n} {value.over}" if value.n > 1 else "one seed"


def bars(values: Sequence[Interval]) -> dict[str, Any]:
    """Intervals as error bars; none where there is no interval."""
    return {"array": [value.half_width if value.known else None for value in values], "thickness": 1.2, "width": 4}


def scale(values: Sequence[float]) -> dict[str, Any]:
    """A logarithmic axis where positive values span half an order of magnitude; else a linear one."""
    finite = [value for value in values if math.isfinite(value)]
    wide = bool(finite) and min(finite) > 0 and max(finite) > 3 * min(finite)
    return logarithmic(finite) if wide else {"type": "linear"}


def logarithmic(values: Sequence[float]) -> dict[str, Any]:
    """A logarithmic axis with 1, 2 and 5 of each power of ten in plain numbers."""
    powers = range(math.floor(math.log10(min(values))) - 1, math.ceil(math.log10(max(values))) + 1)
    ticks = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    return {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}


def layout() -> dict[str, Any]:
    """What all charts share; their colours, and the height that the legend asks for, are the page's."""
    legend = {"orientation": "h", "yref": "container", "yanchor": "bottom", "y": 0, "xref": "paper", "x": 0}
    return {
        "template": "none",
        "margin": {"l": 52, "r": 12, "t": 24, "b": 60},
        "hovermode": "closest",
        "legend": legend,
    }


def spectrum(study: Study) -> go.Figure:
    """The time, the effective weight and the held-out error of each training, on one axis of log-SNR."""
    figure = make_subplots(rows=3, shared_xaxes=True, vertical_spacing=0.07, subplot_titles=LEVELS)
    looks, factors = Looks.of(study), trained_factors(study)
    for name, runs in trainings(study).items():
        schedule = schedule_of(runs[0])
        line = {"name": html.escape(name, quote=False), "legendgroup": name, "meta": {"factors": factors[name]}}
        line |= looks(name, looks.sampled[0])
        add = {1: path(schedule), 2: emphasis(schedule, runs[0].config["model"])}
        for row, drawn in add.items():
            if drawn:
                figure.add_scatter(**axes(drawn), mode="lines", showlegend=row == 1, row=row, col=1, **line)
        levels = by_level(runs)
        found = [(at, estimate(levels[at])) for at in sorted(levels)]
        drawn = Curve([at for at, _ in found], [value.mean for _, value in found])
        error = bars([value for _, value in found])
        figure.add_scatter(**axes(drawn), error_y=error, mode="lines+markers", showlegend=False, row=3, col=1, **line)
    figure.update_layout(layout())
    figure.update_annotations(x=0, xanchor="left", font={"size": 13})
    figure.update_yaxes(type="log", dtick=1, exponentformat="none", row=2)
    figure.update_yaxes(type="log", dtick=1, exponentformat="none", row=3)
    figure.update_xaxes(title="log-SNR (noise to data)", row=3, col=1)
    return figure


def axes(drawn: Curve) -> dict[str, list[float]]:
    """A curve as the coordinates of a trace."""
    return {"x": drawn.log_snr, "y": drawn.value}


def trained_factors(study: Study) -> dict[str, Mapping[str, str]]:
    """What each training is filtered by: nothing that is of sampling."""
    keys = [key for key in study.varied if key not in SAMPLED]
    return {training(study, cell): {key: cell.factors[key] for key in keys} for cell in study.cells}
