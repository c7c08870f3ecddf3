"""Ticks: at the values asked for, or else enough of them in the range that is shown."""

from __future__ import annotations

import numpy as np

from difflab.report import ticks
from difflab.report.charts import quality_chart
from difflab.report.figures import quality_figure
from difflab.report.study import Study
from helpers.studies import card, config, record


def test_the_axis_of_nfe_has_its_ticks_at_the_values_asked_for_on_the_page_and_in_print():
    for nfes in ((4, 7, 13, 36), (20,), (18, 19, 20)):
        study = Study.of([record(config(), card(nfe=nfe), fd_lite0=10 / nfe) for nfe in nfes])
        axis = quality_chart(study, study.groups[0], "fd_lite0", "nfe").layout["xaxis"]
        assert axis["tickvals"] == list(nfes)
        assert axis["ticktext"] == [f"{nfe}" for nfe in nfes]
        assert list(quality_figure(study, study.groups[0], "fd_lite0", "nfe").axes[0].get_xticks()) == list(nfes)


def test_every_range_has_several_ticks():
    rng = np.random.default_rng(0)
    for low in 10 ** rng.uniform(-5, 5, 200):
        for ratio in (1.01, 1.3, 2.0, 3.0, 30.0, 1e4):
            found = ticks.logarithmic([low, low * ratio])
            inside = [tick for tick in found if low <= tick <= low * ratio]
            assert len(inside) >= ticks.FEWEST, (low, ratio, found)
            assert len(inside) <= 16, (low, ratio, found)
            assert found == sorted(set(found))


def test_values_that_a_logarithmic_axis_does_not_show_are_left_out():
    assert ticks.logarithmic([0.0, -1.0, float("nan"), float("inf")]) == []
    assert ticks.logarithmic([3.0, 3.0]) == [3.0]
    assert {1.0, 2.0, 5.0, 10.0} <= set(ticks.logarithmic([1.0, 10.0, -3.0]))
