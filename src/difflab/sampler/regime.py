"""Whether a deterministic sampler works on a grid at few evaluations: its error on data whose flow is known.

The data are mixtures of Gaussians. An error is the root mean square distance, over all dimensions, between the samples
and the ends of the probability flow from the same noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property

import torch
from torch import Tensor

from difflab.denoiser.base import AnyDenoiser
from difflab.denoiser.exact import Mixture
from difflab.process.schedule import EDM, Schedule
from difflab.sampler.adaptive import Adaptive
from difflab.sampler.base import Sampler
from difflab.sampler.ddim import DDIM
from difflab.sampler.dpm_solver import DPMSolverPP
from difflab.sampler.evaluations import tabulated
from difflab.sampler.generate import no_noise, times_for, trajectory
from difflab.sampler.grid import GRIDS, Grid

FEW = 50  # evaluations up to which a sampler is tried
FAR = 1e3  # sigma / alpha from which on a sample is noise, and the flow is followed
WORSE = 3.0  # times DDIM's error


def normal(*shape: int, seed: int) -> Tensor:
    """Standard normal numbers in float64, a function of the seed."""
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def last(
    denoiser: AnyDenoiser, sampler: Sampler, times: Tensor, x: Tensor, noise: Callable[[Tensor, int], Tensor] = no_noise
) -> Tensor:
    """The samples to which the steps of a sampler lead from `x`; one that draws none needs no `noise`."""
    denoise = denoiser.bind(torch.zeros(len(x), dtype=torch.long))
    with tabulated(denoiser, times):
        *_, (_, end) = trajectory(denoise, sampler, times, x, noise)
    return end


@dataclass(frozen=True, eq=False)
class Clusters:
    """Gaussians of one `std` and of equal weight around `means: (K, *shape)`, and `n` samples to follow."""

    name: str
    means: Tensor
    std: float
    n: int

    def denoiser(self, schedule: Schedule) -> Mixture:
        """The optimal denoiser."""
        k = len(self.means)
        return Mixture(schedule, self.means, self.means.new_full((1,), self.std**2), self.means.new_full((k,), 1 / k))

    @cached_property
    def spread(self) -> float:
        """The standard deviation of the data, over all dimensions."""
        return math.hypot((self.means - self.means.mean(0)).square().mean().sqrt().item(), self.std)

    @cached_property
    def noise(self) -> Tensor:
        """What the samples start from, in units of sigma: `(n, *shape)`."""
        return normal(self.n, *self.means.shape[1:], seed=0)

    @cached_property
    def ends(self) -> dict[float, Tensor]:
        """The ends of the flow, by the level that it starts at."""
        return {}

    def end(self, level: float) -> Tensor:
        """The ends of the flow from `x_t = sigma noise` at `sigma / alpha = level`; the schedule does not matter.

        Beyond FAR the sample is noise around the mean of the data.
        """
        if level not in self.ends:
            start = min(level, FAR)
            y = start * self.noise + (self.means.mean(0) if level > FAR else 0)
            schedule = EDM(sigma_min=1e-3 * self.std, sigma_max=start)
            self.ends[level] = last(
                self.denoiser(schedule), Adaptive(1e-4, 1e-4), torch.tensor([1, 0], dtype=torch.float64), y
            )
        return self.ends[level]

    @cached_property
    def errors(self) -> dict[str, float]:
        """Those of what was tried before: the jobs of a study try the same."""
        return {}

    def error(self, sampler: Sampler, schedule: Schedule, grid: Grid, nfe: int) -> float:
        """That of a sampler with `nfe` evaluations; NaN where these do not pay for a step, or the sampler refuses."""
        tried = f"{sampler} {schedule} {grid} {nfe}"
        if tried not in self.errors:
            self.errors[tried] = self.measured(sampler, schedule, grid, nfe)
        return self.errors[tried]

    def measured(self, sampler: Sampler, schedule: Schedule, grid: Grid, nfe: int) -> float:
        """The same, anew."""
        denoiser = self.denoiser(schedule)
        try:
            times = times_for(denoiser, sampler, grid, nfe)
            m = schedule(times[0])
            found = last(denoiser, sampler, times, m.sigma * self.noise)
        except ValueError:
            return math.nan
        return (found - self.end((m.sigma / m.alpha).item())).square().mean().sqrt().item()


@cache
def mixtures() -> tuple[Clusters, ...]:
    """Eight Gaussians on a circle in the plane, and twenty at random in 64 dimensions; both of unit size."""
    angles = torch.arange(8, dtype=torch.float64) * math.pi / 4
    circle = torch.stack([angles.cos(), angles.sin()], 1)
    return Clusters("the plane", circle, 0.1, 32), Clusters("64 dimensions", normal(20, 64, seed=1), 0.3, 32)


@dataclass(frozen=True)
class Outlier:
    """An error beyond the spread of the data, or beyond WORSE times that of DDIM at as many evaluations."""

    where: str
    error: float
    ddim: float
    spread: float

    @property
    def ratio(self) -> float:
        """The error in units of the largest that is none: above 1."""
        return self.error / max(self.spread, WORSE * self.ddim)


def outliers(sampler: Sampler, schedule: Schedule, grid: Grid, nfe: int) -> Iterator[Outlier]:
    """The mixtures on which a sampler is one; none for samplers that draw noise or choose their own steps."""
    if sampler.stochastic or sampler.evaluations is None:
        return
    for data in mixtures():
        found = Outlier(
            data.name, data.error(sampler, schedule, grid, nfe), data.error(DDIM(), schedule, grid, nfe), data.spread
        )
        if not math.isnan(found.error) and not found.ratio <= 1:
            yield found


def advice(sampler: Sampler, schedule: Schedule, grid: Grid, nfe: int) -> str:
    """One line for a sampler that is an outlier on a schedule and a grid, with what does better; empty for others.

    Of up to FEW evaluations: with more, errors fall.
    """
    every = outliers(sampler, schedule, grid, nfe) if nfe <= FEW else ()
    found = max(every, key=lambda each: each.ratio, default=None)
    if found is None:
        return ""
    data = next(each for each in mixtures() if each.name == found.where)
    choices = {f"grid={name}": (sampler, other) for name, other in GRIDS.items()}
    choices |= {f"sampler=dpm_solver_pp grid={name}": (DPMSolverPP(), other) for name, other in GRIDS.items()}
    errors = {
        words: error
        for words, (other, where) in choices.items()
        if not math.isnan(error := data.error(other, schedule, where, nfe))
        and not any(outliers(other, schedule, where, nfe))
    }
    better = min(errors, key=lambda words: errors[words], default="")
    return (
        f"nfe={nfe} is too few for {sampler} on {grid}: on a mixture of Gaussians in {found.where} its samples are off "
        f"by {found.error:.2g}, DDIM's by {found.ddim:.2g}, and the std of the data is {found.spread:.2g}"
        + (f"; {better} is off by {errors[better]:.2g}" if better else "; a larger nfe= helps")
    )
