"""The figures for print: what each line is, against the study and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from difflab.experiment.parts.build import build
from difflab.experiment.store.noise_levels import configured_weight
from difflab.process.schedule import Linear
from difflab.report.figures import error_figure, noise_level_figure, quality_figure
from difflab.report.study import Study
from helpers.studies import NFES, SEEDS, card, config, record


def test_a_quality_figure_has_every_series_the_floor_and_the_front(study):
    (axes,) = quality_figure(study, study.groups[0], "fd_lite0", "nfe").axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert lines.keys() == {*study.series(study.groups[0]), "Pareto front", "real against real,\nn=2,000"}
    assert list(lines["paradigm=ddpm sampler=ddim"].get_xdata()) == [nfe - 1 for nfe in NFES]  # as counted
    assert set(lines["real against real,\nn=2,000"].get_ydata()) == {1.2}
    assert list(lines["Pareto front"].get_ydata()) == list(lines["paradigm=rectified_flow sampler=heun"].get_ydata())


def test_the_axis_of_nfe_has_ticks_at_the_limits_and_none_for_adaptive_samplers():
    records = [record(config(), card(sampler="Adaptive()", nfe=0), fd_lite0=1.0)]
    records += [record(config(), card(nfe=nfe), fd_lite0=2.0) for nfe in (20, 5)]
    study = Study.of(records)
    (axes,) = quality_figure(study, study.groups[0], "fd_lite0", "nfe").axes
    assert list(axes.get_xticks()) == [5, 20]


def test_a_figure_of_seconds_names_the_devices_if_there_are_several():
    records = [record(config(seed=s), card(), fd_lite0=1.0) for s in (0, 1)]
    for each, device in zip(records, ("cpu, 2 threads", "NVIDIA H200"), strict=True):
        each.cost["device"] = device
    study = Study.of(records)
    titles = {
        cost: quality_figure(study, study.groups[0], "fd_lite0", cost).axes[0].get_title(loc="left")
        for cost in ("seconds_per_sample", "nfe")
    }
    assert titles["seconds_per_sample"] == "The seconds are of different devices: NVIDIA H200; cpu, 2 threads."
    assert titles["nfe"] == ""


def test_errors_by_level_are_means_over_trainings(study):
    (axes,) = error_figure(study).axes
    line = axes.get_lines()[0]
    expected = np.mean([[0.9 / (1 + 1.5 ** (x + s / 10)) for x in range(-8, 9, 2)] for s in SEEDS], axis=0)
    assert list(line.get_xdata()) == list(range(-8, 9, 2))
    assert line.get_ydata() == pytest.approx(expected)


def test_schedules_and_weights_share_one_axis_of_log_snr(study):
    schedules, weights = noise_level_figure(study).axes
    assert schedules.get_shared_x_axes().joined(schedules, weights)
    (line,) = [line for line in schedules.get_lines() if line.get_label() == "paradigm=rectified_flow"]
    t = torch.tensor(line.get_ydata(), dtype=torch.float64)
    torch.testing.assert_close(
        torch.tensor(line.get_xdata(), dtype=torch.float64), 2 * ((1 - t) / t).log(), atol=1e-3, rtol=1e-3
    )


def test_flow_matching_weights_eps_as_its_closed_form():
    """Kingma & Gao 2023 (arXiv:2303.00848), table 1: `exp(-log_snr / 2)` for flow matching on the straight path."""
    model = config("rectified_flow")["model"]
    schedule = build(model["denoiser"]["schedule"])
    assert isinstance(schedule, Linear)
    weight = configured_weight(schedule, model)
    x, y = np.array(weight.log_snr), np.array(weight.value)
    inner = np.abs(x) < 4
    np.testing.assert_allclose(y[inner], np.exp(-x[inner] / 2), rtol=0.1)
