"""When and how often a sampler calls the denoiser."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from difflab.denoiser.base import Denoise, Estimate
from difflab.laws.gaussian import bound, end, gaussian
from difflab.process.schedule import Schedule
from difflab.sampler.base import Sampler
from difflab.sampler.evaluations import counting
from difflab.sampler.generate import no_noise, trajectory
from difflab.sampler.grid import Uniform


@dataclass(frozen=True)
class Recorded:
    """A denoiser that writes down the times of its calls."""

    denoise: Denoise
    times: list[Tensor]

    @property
    def schedule(self) -> Schedule:
        """The schedule that times refer to."""
        return self.denoise.schedule

    def __call__(self, x: Tensor, t: Tensor, s: Tensor | None = None) -> Estimate:
        """The estimate."""
        self.times.append(t.flatten()[0])
        return self.denoise(x, t, s)


def calls_by_step(sampler: Sampler, schedule: Schedule, steps: int = 50) -> list[int]:
    """The network evaluations counted in each of some steps."""
    denoiser, x = gaussian(schedule), torch.ones(1, 1, 1, 1, dtype=torch.float64)
    with counting(denoiser) as rows, torch.no_grad():
        walk = trajectory(bound(denoiser, 1), sampler, Uniform()(schedule, steps), x, no_noise)
        spent = [0, *(sum(rows) for _ in walk)]
    return [after - before for before, after in itertools.pairwise(spent)]


def takes(sampler: Sampler, schedule: Schedule) -> bool:
    """Whether the sampler takes the schedule, and does not refuse it by a ValueError."""
    try:
        x = torch.ones(3, 1, 1, 1, dtype=torch.float64)
        return bool(end(sampler, schedule, Uniform()(schedule, 2), x).isfinite().all())
    except ValueError:
        return False
