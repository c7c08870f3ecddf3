"""Where a sampler, a grid or a schedule stands beside difflab's own, by its error on an exact denoiser of images.

The data are a mixture of Gaussians around 200 images of Fashion16, whose optimal denoiser is known. Deterministic
samplers are measured by the root mean square distance, over all pixels, between their samples and the ends of the
probability flow from the same noise; stochastic ones by the energy distance between their samples and draws of the
mixture. Each is given the best of a few grids.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from difflab.cli.parts import Part, ours
from difflab.data.fashion16 import Fashion16
from difflab.denoiser.base import Estimate
from difflab.denoiser.exact import Mixture
from difflab.metric.distance import energy
from difflab.process.noise import SampleNoise
from difflab.process.schedule import EDM, VP, Linear, Schedule
from difflab.sampler.adaptive import Adaptive
from difflab.sampler.base import Sampler
from difflab.sampler.ddim import DDIM
from difflab.sampler.dpm_solver import DPMSolverPP
from difflab.sampler.generate import times_for
from difflab.sampler.grid import GRIDS, Grid
from difflab.sampler.heun import Heun
from difflab.sampler.regime import FAR, last

STD = 0.1  # of the Gaussians around the images; these lie in [-1, 1]
EACH = 20  # images of a class
STARTS, DRAWN = 32, 160  # samples of deterministic and of stochastic samplers
USUAL = (*GRIDS.values(),)
SOLVERS: dict[str, Sampler] = {"ddim": DDIM(), "heun": Heun(), "dpm_solver_pp": DPMSolverPP()}
PATHS: dict[str, Schedule] = {"vp": VP(), "linear": Linear()}
NFE = (5, 10, 20)


@dataclass(frozen=True)
class Placement:
    """Errors of a part and of ours by column, the smaller the better; NaN where there is none."""

    title: str
    columns: tuple[str, ...]
    rows: Mapping[str, tuple[float, ...]]
    own: str  # the row of the part
    floor: float | None = None  # the error of the data themselves, where that is not 0

    def rank(self, column: int) -> int:
        """The part's place among the rows, from 1 on."""
        return 1 + sum(row[column] < self.rows[self.own][column] for row in self.rows.values())


class Images(Mixture):
    """The optimal denoiser of the mixture, which also offers a learned variance, so that every sampler can be run."""

    learned_variance = True

    def __init__(self, schedule: Schedule, dtype: torch.dtype = torch.float64) -> None:
        means = images().to(dtype)
        super().__init__(schedule, means, means.new_full((1,), STD**2), means.new_full((len(means),), 1 / len(means)))

    def forward(self, x: Tensor, t: Tensor, label: Tensor, s: Tensor | None = None) -> Estimate:
        """Estimate with `v = 1/2`: the geometric mean of the two bounds of the variance."""
        return super().forward(x, t, label)._replace(v=torch.full_like(x, 0.5))


@cache
def images() -> Tensor:
    """The means, float64 (200, 1, 16, 16)."""
    split = Fashion16().load().train
    rows = torch.cat([(split.y == k).nonzero()[:EACH, 0] for k in range(10)])
    return split.x[rows].double() / 127.5 - 1


def normal(n: int, seed: int) -> Tensor:
    """Standard normal images (n, 1, 16, 16), in float64."""
    return torch.randn(n, 1, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@cache
def flow_end(level: float) -> Tensor:
    """The end of the probability flow from `x_t = sigma z` at `sigma / alpha = level`.

    It depends on the level alone, not on the schedule. Beyond FAR the sample is noise around the mean of the data.
    """
    start = min(level, FAR)
    y = start * normal(STARTS, 0) + (images().mean(0) if level > FAR else 0)
    schedule = EDM(sigma_min=1e-3 * STD, sigma_max=start)
    return last(Images(schedule), Adaptive(1e-6, 1e-6), torch.tensor([1, 0], dtype=torch.float64), y)


def on_grid(sampler: Sampler, schedule: Schedule, grid: Grid, nfe: int) -> float:
    """The error of a sampler with `nfe` evaluations on a grid; NaN where they do not pay for a step, or it refuses."""
    dtype = torch.float32 if sampler.stochastic else torch.float64
    denoiser = Images(schedule, dtype)
    try:
        times = times_for(denoiser, sampler, grid, nfe)
        m = schedule(times[0])
        if sampler.stochastic:
            x = (m.sigma * normal(DRAWN, 1)).to(dtype)
            return energy(
                drawn().flatten(1), last(denoiser, sampler, times, x, SampleNoise(2, range(DRAWN))).flatten(1)
            )
        found = last(denoiser, sampler, times, m.sigma * normal(STARTS, 0))
    except ValueError:
        return math.nan
    return (found - flow_end((m.sigma / m.alpha).item())).square().mean().sqrt().item()


@cache
def drawn() -> Tensor:
    """Draws of the mixture, one after the other of each component."""
    n = 2 * DRAWN
    return images()[torch.arange(n) % len(images())] + STD * normal(n, 3)


@cache
def noise() -> float:
    """The mean size of the energy distance of DRAWN independent draws of the mixture."""
    rows = torch.randint(len(images()), (10, DRAWN), generator=torch.Generator().manual_seed(4))
    draws = [images()[own] + STD * normal(DRAWN, 5 + k) for k, own in enumerate(rows)]
    return sum(abs(energy(drawn().flatten(1), each.flatten(1))) for each in draws) / len(draws)


def error(sampler: Sampler, schedule: Schedule, nfe: int, grids: Sequence[Grid] = USUAL) -> float:
    """The least error on some grids; NaN if there is none."""
    found = [on_grid(sampler, schedule, grid, nfe) for grid in grids]
    return min((each for each in found if not math.isnan(each)), default=math.nan)


@cache
def of_our_sampler(option: str) -> tuple[float, ...]:
    """The errors of one of our samplers."""
    return errors_of_sampler(ours("sampler")[option])


def errors_of_sampler(sampler: Sampler) -> tuple[float, ...]:
    """At each NFE on each path."""
    return tuple(error(sampler, schedule, nfe) for schedule in PATHS.values() for nfe in NFE)


def of_sampler(part: Part) -> Placement | None:
    """Beside ours that draw noise as well, or none as well; an adaptive sampler has no NFE to be compared at."""
    if part.built.evaluations is None:
        return None
    like = {
        option: of_our_sampler(option)
        for option, sampler in ours("sampler").items()
        if sampler.stochastic == part.built.stochastic and sampler.evaluations is not None and sampler != part.built
    }
    what = "energy distance to the data" if part.built.stochastic else "distance from the probability flow"
    columns = tuple(f"{path}, {nfe} NFE" for path in PATHS for nfe in NFE)
    rows = {part.option: errors_of_sampler(part.built), **like}
    return Placement(what, columns, rows, part.option, noise() if part.built.stochastic else None)


@cache
def of_our_schedule(option: str) -> tuple[float, ...]:
    """The errors on one of our schedules."""
    return errors_on_schedule(ours("schedule")[option])


def errors_on_schedule(schedule: Schedule) -> tuple[float, ...]:
    """Of each solver at 10 evaluations."""
    return tuple(error(solver, schedule, 10) for solver in SOLVERS.values())


def of_schedule(part: Part) -> Placement:
    """Our solvers on it, beside our schedules."""
    like = {option: of_our_schedule(option) for option in ours("schedule") if option != part.option}
    columns = tuple(f"{solver}, 10 NFE" for solver in SOLVERS)
    rows = {part.option: errors_on_schedule(part.built), **like}
    return Placement("distance from the probability flow", columns, rows, part.option)


def of_grid(part: Part) -> Placement | None:
    """Our solvers on it, beside our grids; one that states its own times takes no other NFE."""
    if part.built.steps is not None:
        return None

    def errors(grid: Grid) -> tuple[float, ...]:
        return tuple(on_grid(solver, path, grid, 10) for path in PATHS.values() for solver in SOLVERS.values())

    like = {k: errors(grid) for k, grid in ours("grid").items() if grid.steps is None and k != part.option}
    columns = tuple(f"{solver} on {path}" for path in PATHS for solver in SOLVERS)
    rows = {part.option: errors(part.built), **like}
    return Placement("distance from the probability flow at 10 NFE", columns, rows, part.option)


PLACEMENTS: dict[str, Callable[[Part], Any]] = {"sampler": of_sampler, "schedule": of_schedule, "grid": of_grid}
