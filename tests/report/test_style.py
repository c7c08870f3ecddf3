"""One style for the page and print: legible on both backgrounds, and distinct also to the colour-blind."""

from __future__ import annotations

import itertools
import re

import numpy as np

from difflab.report.charts import noise_level_chart, quality_chart
from difflab.report.figures import noise_level_figure, quality_figure
from difflab.report.page import asset
from difflab.report.study import Study
from difflab.report.style import COLOURS, FLOOR, GREY, MARKS, Styles
from helpers.studies import card, config, record

# Linear sRGB as it is seen, Machado, Oliveira & Fernandes 2009, table 1, severity 1.
VISION = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}
OKABE_ITO = ("#000000", "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")  # 2008


def linear(colour):
    """A hexadecimal colour in linear sRGB, IEC 61966-2-1."""
    value = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def contrast(a, b):
    """The contrast ratio of WCAG 2.2."""
    low, high = sorted(linear(each) @ [0.2126, 0.7152, 0.0722] + 0.05 for each in (a, b))
    return high / low


def lab(rgb):
    """Linear sRGB in CIE L*a*b*, white D65."""
    xyz = rgb @ np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]).T
    ratio = xyz / [0.9505, 1.0, 1.089]
    x, y, z = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio * (29 / 6) ** 2 / 3 + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def closest(colours, vision):
    """The smallest distance of two colours, and which two."""
    points = {colour: lab(np.clip(VISION[vision] @ linear(colour), 0, 1)) for colour in colours}
    pairs = itertools.combinations(colours, 2)
    return min((float(np.linalg.norm(points[a] - points[b])), a, b) for a, b in pairs)


def test_every_colour_is_legible_on_both_backgrounds():
    light, dark = re.findall(r"--paper: (#\w+);", asset("page.css"))[:2]
    papers = ("#ffffff", dark)
    assert light == "#fff"
    worst = min((contrast(colour, paper), colour, paper) for colour in (*COLOURS, GREY) for paper in papers)
    assert worst[0] >= 3, worst  # WCAG 2.2, 1.4.11, for graphical objects


def test_colours_are_as_distinct_as_those_of_okabe_and_ito():
    assert closest(("#ff0000", "#00ff00"), "deuteranopia")[0] < 0.5 * closest(("#ff0000", "#00ff00"), "normal")[0]
    for vision in VISION:
        ours, published = closest(COLOURS, vision), closest(OKABE_ITO, vision)
        assert ours[0] >= published[0], (vision, ours, published)


def test_each_training_and_sampling_is_drawn_in_its_own_way():
    styles = Styles(tuple(f"training {k}" for k in range(3 * len(COLOURS))), tuple(f"{k}" for k in range(len(MARKS))))
    assert len({styles.training(label) for label in styles.trainings}) == len(styles.trainings)
    drawn = {styles.series(t, s) for t in styles.trainings for s in styles.samplings}
    assert len(drawn) == len(styles.trainings) * len(styles.samplings)
    one = Styles(("ddpm",), tuple(f"{k}" for k in range(len(COLOURS))))
    assert {one.series("ddpm", s).colour for s in one.samplings} == set(COLOURS)


def test_the_page_and_the_figures_agree_on_every_colour_mark_and_dash(study):
    group, styles = study.groups[0], Styles.of(study)
    series = {study.label(c): styles.series(study.training_label(c), study.sampling_label(c)) for c in group.cells}
    traces = {trace.name: trace for trace in quality_chart(study, group, "fd_lite0", "nfe").figure.data}
    lines = {line.get_label(): line for line in quality_figure(study, group, "fd_lite0", "nfe").axes[0].get_lines()}
    assert len({style.colour for style in series.values()}) == 3
    assert len({(style.mark, style.dash) for style in series.values()}) == 2
    for label, style in series.items():
        assert traces[label].line.color == traces[label].marker.color == lines[label].get_color() == style.colour
        assert (traces[label].marker.symbol, lines[label].get_marker()) == style.mark
        assert (traces[label].line.dash == "solid") == (lines[label].get_linestyle() == "-") == (not style.dash)
    assert (
        traces["floor: real against real, n=2,000"].line.color
        == lines["real against real,\nn=2,000"].get_color()
        == FLOOR.colour
    )


def test_a_training_keeps_its_colour_over_noise_levels(study):
    page = {trace.name: trace.line.color for trace in noise_level_chart(study).figure.data}
    printed = {line.get_label(): line.get_color() for axes in noise_level_figure(study).axes for line in axes.lines}
    quality = {trace.name.split()[0]: trace.line.color for trace in series_traces(study)}
    assert page == printed == quality


def series_traces(study):
    return [trace for trace in quality_chart(study, study.groups[0], "fd_lite0", "nfe").figure.data if trace.meta]


def test_the_samplings_of_a_single_training_differ_in_colour_on_the_page_and_in_print():
    names = ("Heun()", "DDIM()", "Euler()")
    study = Study.of([record(config(), card(sampler=name), fd_lite0=1.0) for name in names])
    page = {trace.name: trace.line.color for trace in series_traces(study)}
    lines = quality_figure(study, study.groups[0], "fd_lite0", "nfe").axes[0].get_lines()
    assert page.items() <= {line.get_label(): line.get_color() for line in lines}.items()
    assert len(set(page.values())) == 3
