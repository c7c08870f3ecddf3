"""Sampling times that are found for one denoiser, one sampler and one number of steps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from typing_extensions import override

from difflab.denoiser.base import AnyDenoiser, Denoise, Estimate
from difflab.process.gaussian import scale
from difflab.process.noise import SampleNoise, keyed
from difflab.process.ranges import Count
from difflab.process.schedule import Schedule
from difflab.sampler.base import Sampler
from difflab.sampler.distance import Distance, rms_distance
from difflab.sampler.dpm_solver import DPMSolverPP
from difflab.sampler.generate import no_noise, trajectory
from difflab.sampler.grid import CLEAN, GRIDS, Grid, Uniform

TIMES = 5  # the stream of the noise that times are found with, which no sample is measured with
FINE = 4  # steps of the reference between two candidates
FIXED = (*GRIDS.values(),)
MOVES = 1 / 2, 1 / 4, 1 / 8  # of the way to the next time, tried in turn

LEAST = math.exp(-CLEAN / 2)  # sigma / alpha at the log-SNR CLEAN
TRIED = 2  # of the first times

Start = tuple[int, int]  # the candidate before, or -1, and the candidate that a step begins at


class Found(NamedTuple):
    """Times, and the distance of the samples from the flow's ends."""

    times: Tensor
    error: float


@dataclass(frozen=True)
class Optimised(Grid):
    """The times with which a sampler that draws no noise ends nearest to the ends of the probability flow.

    1. The flow of `n` samples is followed from noise to data in many steps.
    2. Dynamic programming finds the times, of `candidates`, with the least sum of step errors. Each step starts on the
       flow, and its error is relative to the noise level that it ends at.
    3. These times and those of the grids FIXED are compared by the `distance` of the samples from the ends of the flow.
       Of the best TRIED, single times are moved while that lowers the distance.

    A distance is a number for two sets of samples from the same noise. The default is the root mean square difference.
    For images it favours blur; the commands therefore take the Frechet distance of features. A sampler with two
    evaluations a step takes about `candidates^2 / 2` evaluations a sample, others fewer.

    After Watson et al. 2021 (arXiv:2106.03802), who minimise a bound of the chain in place of a solver's errors, and
    Sabour et al. 2024 (arXiv:2404.14507), who move single times to lower a bound on the SDE. Step errors are as in Chen
    et al. 2024 (arXiv:2405.11326), but of the sampler itself, not of Euler's method; those of a multistep method of
    any order are measured with one past node. The first time is that of `FIXED[0]`, which is also the grid until the
    times are found. Raises ValueError unless `n >= 1` and `candidates >= 2`.
    """

    finds: ClassVar[bool] = True
    n: Count = 128
    candidates: Count = 32

    def __post_init__(self) -> None:
        if self.n < 1 or self.candidates < 2:
            raise ValueError(
                f"grid.n={self.n} and grid.candidates={self.candidates} must be at least 1 and 2; 128 and 32 are the "
                f"defaults"
            )

    @override
    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        return FIXED[0](schedule, steps)

    @override
    def check(self, sampler: Sampler, steps: int) -> None:
        """Raise ValueError for a sampler without such times, and for steps too many to choose among the candidates."""
        if sampler.stochastic or sampler.evaluations is None:
            why = "draws noise" if sampler.stochastic else "makes its own times"
            raise ValueError(f"grid=optimised finds times of samplers that follow the flow, and {sampler} {why}")
        if 2 * steps > self.candidates:
            raise ValueError(
                f"grid=optimised: {steps} steps among {self.candidates} times are no choice: give nfe a few steps, or "
                f"grid.candidates={2 * steps} or more, whose pairs are all tried"
            )

    @override
    @torch.no_grad()
    def fit(self, denoiser: AnyDenoiser, sampler: Sampler, times: Tensor, distance: Distance = rms_distance) -> Tensor:
        """The times, as many as are given, from the first of those on."""
        self.check(sampler, len(times) - 1)
        steps = len(times) - 1
        flow = Flow.of(denoiser, self.candidates_of(denoiser, times[0]), self.n, distance)
        fixed = (torch.cat([times[:1], grid(denoiser.schedule, steps)[1:]]) for grid in FIXED)
        starts = [flow.shortest(sampler, steps), *(each for each in fixed if (each.diff() < 0).all())]
        starts.sort(key=lambda each: flow.error(sampler, each))
        return min((flow.polished(sampler, each) for each in starts[:TRIED]), key=lambda found: found.error).times

    def candidates_of(self, denoiser: AnyDenoiser, start: Tensor) -> Tensor:
        """Falling times from `start` to data: equal steps of log-SNR, and as many of time."""
        schedule, half = denoiser.schedule, self.candidates // 2
        if schedule.discrete:
            half = min(half, int(schedule.t_max))
        times = torch.cat([FIXED[0](schedule, half), Uniform()(schedule, half), start[None]])
        return falling(times[times <= start])


@dataclass(frozen=True)
class Flow:
    """The probability flow of samples: `x[k]` at `times[k]`, from noise to data."""

    denoise: Denoise
    times: Tensor
    x: list[Tensor]
    distance: Distance

    @classmethod
    def of(cls, denoiser: AnyDenoiser, times: Tensor, n: int, distance: Distance) -> Flow:
        """Follow it, by FINE steps of DPM-Solver++ (2M) between two times; its labels are all classes in turn."""
        labels = torch.arange(n, device=denoiser.device) % max(denoiser.classes, 1)
        known = Known(denoiser.bind(labels))
        noise = SampleNoise(keyed(TIMES).initial_seed(), range(n))
        like = torch.empty(n, *denoiser.shape, device=denoiser.device)
        start = scale(denoiser.schedule(times[0]).sigma, noise(like, 0))
        share = torch.arange(FINE, dtype=torch.float64) / FINE
        between = [t + (s - t) * share for t, s in itertools.pairwise(times)]
        fine = falling(on_table(denoiser.schedule, torch.cat([*between, times[-1:]])))
        reached = {float(t): x for t, x in trajectory(known, DPMSolverPP(), fine, start, no_noise)}
        x = [start, *(reached[float(t)] for t in times[1:])]
        if torch.equal(known(start, times[0]).x0, known(start, times[0], times[-1]).x0):  # it is no flow map
            for t, each in zip(times[:-1], x[:-1], strict=True):
                known.remember(each, t)
        return cls(known, times, x, distance)

    def error(self, sampler: Sampler, times: Tensor) -> float:
        """The distance of the sampler's ends from those of the flow."""
        *_, (_, end) = trajectory(self.denoise, sampler, times, self.x[0], no_noise)
        return self.distance(end, self.x[-1])

    def step_error(self, sampler: Sampler, i: int, j: int, state: Any) -> float:  # noqa: ANN401  # the sampler's own
        """The error of a step from the flow at `times[i]` to `times[j]`, relative to sigma, at least LEAST alpha."""
        end, _ = sampler.step(self.denoise, self.x[i], self.times[i], self.times[j], state, torch.zeros_like)
        m = self.denoise.schedule(self.times[j])
        return rms_distance(end, self.x[j]) / max(m.sigma.item(), LEAST * m.alpha.item())

    def states(self, sampler: Sampler, i: int) -> dict[int, Any]:
        """The sampler's states at `times[i]`, by the candidate that it came from; -1 stands for no past."""
        first = sampler.init(self.x[i])
        if first is None:
            return {-1: None}
        step, past = sampler.step, {}
        for h in range(i):
            _, past[h] = step(
                self.denoise, self.x[h], self.times[h], self.times[i], sampler.init(self.x[h]), torch.zeros_like
            )
        return past or {-1: first}

    def shortest(self, sampler: Sampler, steps: int) -> Tensor:
        """The times of `steps` steps from the first candidate to data whose errors have the least sum."""
        last = len(self.times) - 1
        errors: dict[Start, Mapping[int, float]] = {
            (h, i): {j: self.step_error(sampler, i, j, state) for j in range(i + 1, last + 1)}
            for i in range(last)
            for h, state in self.states(sampler, i).items()
        }
        pairs = any(h >= 0 for h, _ in errors)
        paths: dict[Start, tuple[float, tuple[int, ...]]] = {(-1, 0): (0.0, (0,))}
        for _ in range(steps):
            longer: dict[Start, tuple[float, tuple[int, ...]]] = {}
            for (h, i), (total, path) in paths.items():
                for j, error in errors.get((h, i), {}).items():
                    at = (i if pairs else -1, j)
                    if at not in longer or total + error < longer[at][0]:
                        longer[at] = total + error, (*path, j)
            paths = longer
        _, path = min(value for (_, i), value in paths.items() if i == last)
        return self.times[[*path]]

    def polished(self, sampler: Sampler, times: Tensor) -> Found:
        """The times after each but the ends was moved towards its neighbours while that lowered the error."""
        least, schedule = self.error(sampler, times), self.denoise.schedule
        for share in MOVES:
            for k, other in itertools.product(range(1, len(times) - 1), (-1, 1)):
                moved = times.clone()
                moved[k] = times[k] + share * (times[k + other] - times[k])
                moved = schedule.snap(moved)
                if (moved.diff() < 0).all() and (error := self.error(sampler, moved)) < least:
                    times, least = moved, error
        return Found(times, least)


class Known:
    """A `Denoise` that gives again what it gave for some samples, themselves and not their like."""

    def __init__(self, denoise: Denoise) -> None:
        self.denoise, self.schedule = denoise, denoise.schedule
        self.estimates: dict[tuple[int, float], Estimate] = {}

    def remember(self, x: Tensor, t: Tensor) -> None:
        """Evaluate these samples once."""
        self.estimates[id(x), float(t)] = self.denoise(x, t)

    def __call__(self, x: Tensor, t: Tensor, s: Tensor | None = None) -> Estimate:
        """The estimate."""
        return self.estimates.get((id(x), float(t))) or self.denoise(x, t, s)


def on_table(schedule: Schedule, times: Tensor) -> Tensor:
    """The times as they are, or the steps of a table that are nearest, several of which may be one."""
    return times.round() if schedule.discrete else times


def falling(times: Tensor) -> Tensor:
    """Each of the times once, from noise to data."""
    return torch.tensor(sorted({*times.tolist()}, reverse=True), dtype=torch.float64)
