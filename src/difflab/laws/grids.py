"""Laws of sampling grids: the given number of steps, strictly falling from noise to data."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from difflab.laws.worst import Worst, close, violations, worst
from difflab.process.schedule import Schedule
from difflab.sampler.grid import Grid


def times_fall_to_data(grid: Grid, schedule: Schedule, steps: int) -> Worst:
    """`steps + 1` times, strictly falling from at most t_max to 0; on a discrete schedule integers."""
    times, case = grid(schedule, steps), f"{grid} on {schedule}, {steps} steps"
    if times.shape != (steps + 1,):
        return Worst(f"{case}: {tuple(times.shape)} times in place of {steps + 1}", math.inf, 0.0)
    off = (times > schedule.t_max) | ((times != times.round()) & schedule.discrete)
    return worst(
        [
            violations(f"{case} fall", ~(times.diff() < 0), times[1:]),
            violations(f"{case}: times of the schedule", off | times.isnan(), times),
            close(f"{case}: the last time", times[-1], torch.zeros((), dtype=torch.float64)),
        ]
    )


Law = Callable[[Grid, Schedule, int], Worst]

LAWS: tuple[Law, ...] = (times_fall_to_data,)
