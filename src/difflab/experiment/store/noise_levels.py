"""The noise levels of a configuration: where its schedule spends its time, and how training weights each level."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from difflab.experiment.parts.build import build
from difflab.objective.times import Times
from difflab.objective.weighting import Weighting, error_ratio
from difflab.process.schedule import Schedule
from difflab.process.target import Eps, Target

DRAWS = 2**18
POINTS = 100  # of a curve of times
GROUPS = 48  # of noise levels, each of about as many draws
FEWEST = 5  # levels: the groups between them are four, of which the outermost are left out


class Curve(NamedTuple):
    """Values over log-SNR."""

    log_snr: list[float]
    value: list[float]


def time_share(schedule: Schedule) -> Curve:
    """The share of the time axis, 0 at data, at which each log-SNR is reached."""
    share = (torch.arange(POINTS, dtype=torch.float64) + 0.5) / POINTS
    with torch.no_grad():
        return Curve(schedule.log_snr(schedule.time(share)).tolist(), share.tolist())


def configured_weight(schedule: Schedule, model: Mapping[str, Any]) -> Curve | None:
    """The effective weight of a model's configuration; None if it regresses no target, or has too few levels."""
    if "target" not in model["denoiser"] or "weighting" not in model:
        return None
    target, times, weighting = (
        build(node) for node in (model["denoiser"]["target"], model["times"], model["weighting"])
    )
    return effective_weight(schedule, target, times, weighting)


def effective_weight(schedule: Schedule, target: Target, times: Times, weighting: Weighting) -> Curve | None:
    """`w(log_snr)` of the loss `int w(log_snr) |eps - eps_hat|^2 d log_snr`, scaled to 1 at `log_snr = 0`.

    The weight at a noise level, converted to the error in eps, times the density of the training times there. Two
    trainings with equal curves have the same objective, also if their schedules, targets and times differ. None for a
    schedule of fewer than FEWEST levels, which have no density.
    Kingma & Gao 2023 (arXiv:2303.00848), eq. 8.
    """
    with torch.no_grad():
        t, importance = times(schedule, DRAWS, torch.Generator().manual_seed(0))
        weight = importance * weighting(schedule, target, t) * error_ratio(schedule, t, target, Eps())
        log_snr = schedule.log_snr(t)
    levels, which = np.unique(log_snr.numpy(), return_inverse=True)
    if len(levels) < FEWEST:
        return None
    below = np.bincount(which, weight.numpy()).cumsum() / DRAWS
    ends = np.linspace(0, len(levels) - 1, min(GROUPS, len(levels) - 1) + 1).round().astype(int)
    edge = levels[ends]
    middle = ((edge[1:] + edge[:-1]) / 2)[1:-1]  # the outermost groups reach too far to stand for one level
    density = (np.diff(below[ends]) / np.diff(edge))[1:-1]
    return Curve(middle.tolist(), (density / np.interp(0.0, middle, density)).tolist())
