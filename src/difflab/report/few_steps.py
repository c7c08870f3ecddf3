"""What decides few steps: how far a flow map is from one, by the ends of its steps, and how straight a flow is."""

from __future__ import annotations

import html
import math
from typing import Any

import numpy as np

from difflab.report.charts import Chart, error_bars, layout, training_factors, value_axis
from difflab.report.statistics import Interval, Seeds, shown
from difflab.report.study import Study
from difflab.report.style import Styles


def residual_maps(study: Study) -> dict[str, list[list[float]]]:
    """By training, the mean over seeds of the residual of a flow map: rows of its steps' starts, columns of their ends.

    NaN above the diagonal, where there is no step, and where it was not finite.
    """
    maps: dict[str, list[list[float]]] = {}
    for label, runs in study.trainings().items():
        if found := [run.result["residual"] for run in runs if run.result.get("residual")]:
            square = np.full((len(found), len(found[0]), len(found[0])), np.nan)
            for each, rows in zip(square, found, strict=True):
                for i, row in enumerate(rows):
                    each[i, : len(row)] = [np.nan if value is None else value for value in row]
            maps[label] = square.mean(0).tolist()
    return maps


def straightness_of(study: Study) -> dict[str, Interval]:
    """By training, how far from straight its flow is on held-out noise: 0 for paths that one step follows."""
    found: dict[str, dict[Seeds, float]] = {}
    for label, runs in study.trainings().items():
        for run in runs:
            if "straightness" in run.result:
                found.setdefault(label, {})[run.seeds[0], 0] = run.result["straightness"]
    return {label: shown(values, 0, math.inf) for label, values in found.items()}


def residual_charts(study: Study) -> dict[str, Chart]:
    """By training, a map of the residual of its flow map over the ends of a step; all have one scale of colours."""
    maps, factors = residual_maps(study), training_factors(study)
    logs = {label: [list(map(logarithm, row)) for row in rows] for label, rows in maps.items()}
    known = [value for rows in logs.values() for row in rows for value in row if value is not None]
    charts = {}
    for label, rows in maps.items():
        ends = [(i + 0.5) / len(rows) for i in range(len(rows))]
        heat: dict[str, Any] = {
            **{"x": ends, "y": ends, "z": logs[label], "zmin": min(known, default=0), "zmax": max(known, default=1)},
            "type": "heatmap",
            "customdata": rows,
            "hovertemplate": "from the %{y} to the %{x} of the axis: %{customdata:.3g}<extra></extra>",
            "colorscale": "Viridis",
            "colorbar": {"title": {"text": "log10"}},
            "showlegend": False,
            "meta": {"factors": factors[label]},
        }
        titles = {"xaxis": {"title": {"text": "end of the step, 0 at data"}}, "yaxis": {"title": {"text": "start"}}}
        charts[label] = Chart([heat], layout() | titles)
    return charts


def logarithm(value: float) -> float | None:
    """To base 10; None of what has none."""
    return math.log10(value) if value > 0 else None  # NaN is not


def straightness_chart(study: Study) -> Chart | None:
    """The straightness of each flow, with intervals over seeds; None where there is none."""
    found, styles, factors = straightness_of(study), Styles.of(study), training_factors(study)
    if not found:
        return None
    traces = [
        {
            "type": "scatter",
            "x": [value.mean],
            "y": [html.escape(label, quote=False)],
            "error_x": error_bars([value]),
            "mode": "markers",
            "showlegend": False,
            "meta": {"factors": factors[label]},
            **styles.training(label).plotly,
        }
        for label, value in found.items()
    ]
    title, scale = {"text": "straightness, 0: straight"}, value_axis([value.mean for value in found.values()])
    axes = {"xaxis": {"title": title, "rangemode": "tozero", **scale}, "yaxis": {"automargin": True}}
    return Chart(traces, layout() | axes)
