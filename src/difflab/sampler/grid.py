"""Sampling times: `steps + 1` strictly falling times from the noisiest level to 0, the data.

On a table every grid becomes a strided subset of its steps; asking for more steps than it has is an error.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from difflab.process.ranges import Count, Positive, Real
from difflab.process.schedule import Schedule
from difflab.sampler.distance import Distance, rms_distance

if TYPE_CHECKING:
    from difflab.denoiser.base import AnyDenoiser
    from difflab.sampler.base import Sampler


class Grid:
    """A law of sampling times."""

    finds: ClassVar[bool] = False  # whether its times are found for a run, by `fit`: that is done once, and kept

    @property
    def steps(self) -> int | None:
        """The only number of steps that it makes; None if it makes any."""
        return None

    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        """`steps + 1` falling times, the last one 0; float64 on the CPU."""
        raise NotImplementedError

    def check(self, sampler: Sampler, steps: int) -> None:
        """Raise ValueError for a sampler that it has no times for, or for too many steps."""

    def fit(self, denoiser: AnyDenoiser, sampler: Sampler, times: Tensor, distance: Distance = rms_distance) -> Tensor:
        """As many times as the given ones, which are the grid's, that suit a denoiser and a sampler: these by default.

        `distance` is how far samples are from where they should be. Raises ValueError as `check` does.
        """
        return times


def ramp(start: float, end: float, n: int) -> Tensor:
    """`n` equidistant float64 numbers."""
    return torch.linspace(start, end, n, dtype=torch.float64)


def ending_in_data(times: Tensor) -> Tensor:
    """Append the data end, t = 0."""
    return torch.cat([times, times.new_zeros(1)])


@dataclass(frozen=True)
class Uniform(Grid):
    """`t_k = t_max (1 - k / steps)`: "trailing" spacing on a table. Lin et al. 2024 (arXiv:2305.08891), section 3.3."""

    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        """`steps + 1` falling times, the last one 0."""
        return schedule.snap(ramp(schedule.t_max, 0, steps + 1))


@dataclass(frozen=True)
class Quadratic(Grid):
    """`t_k = t_max (1 - k / steps)^2`: denser towards data. Song, Meng & Ermon 2021 (arXiv:2010.02502), app. D.2."""

    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        """`steps + 1` falling times, the last one 0."""
        return schedule.snap(schedule.t_max * ramp(1, 0, steps + 1) ** 2)


@dataclass(frozen=True)
class Cosine(Grid):
    """`t_k = t_max cos(pi k / (2 steps))`: denser towards noise. Du et al. 2024 (arXiv:2407.05407), section 2.3."""

    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        """`steps + 1` falling times, the last one 0."""
        return schedule.snap(schedule.t_max * (0.5 * math.pi * ramp(1, 0, steps + 1)).sin())


@dataclass(frozen=True)
class Shift(Grid):
    """The times of another `grid`, moved towards noise: `u' = shift u / (1 + (shift - 1) u)` for `u = t / t_max`.

    On the straight path it multiplies sigma / alpha by `shift`, as sqrt(m / n) makes up for n pixels in place of m.
    Esser et al. 2024 (arXiv:2403.03206), eq. 23. Raises ValueError unless `shift` is positive.
    """

    shift: float = 3.0
    grid: Grid = field(default_factory=Uniform)

    def __post_init__(self) -> None:
        if self.shift <= 0:
            raise ValueError(f"grid.shift={self.shift} must be positive: 1 moves nothing, more leads towards noise")

    @property
    @override
    def steps(self) -> int | None:
        return self.grid.steps

    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        """`steps + 1` falling times, the last one 0."""
        u = self.grid(schedule, steps) / schedule.t_max
        return schedule.snap(schedule.t_max * self.shift * u / (1 + (self.shift - 1) * u))


@dataclass(frozen=True)
class Levels(Grid):
    """Noise levels between two log-SNRs, `noisy` and `clean`, or the ends of the trained times if those are nearer.

    By default that is the whole axis. A few steps over the whole of it are mostly spent where there is little to do:
    VP reaches from -10 to 14, a cosine table from -20 to 10. The options of `grid=` go from -9 to 7, and the one step
    to data removes the noise that is left. Raises ValueError unless `noisy < clean`.
    """

    as_before: ClassVar[Mapping[str, object]] = {"noisy": -20.0, "clean": 20.0}
    noisy: Real = -20.0
    clean: Real = 20.0

    def __post_init__(self) -> None:
        if not self.noisy < self.clean:
            raise ValueError(f"grid.noisy={self.noisy} must be less than grid.clean={self.clean}: both are log-SNRs")

    def ends(self, schedule: Schedule) -> Tensor:
        """The two log-SNRs, the noisier first."""
        return schedule.log_snr(ramp(schedule.t_max, schedule.t_min, 2)).clamp(self.noisy, self.clean)


@dataclass(frozen=True)
class LogSNR(Levels):
    """Equal steps of log-SNR from `noisy` to `clean`, then data. Lu et al. 2022 (arXiv:2206.00927), section 3.4.

    Theirs end where their schedules do, which are cut at the noisy end: see `Levels`.
    """

    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        """`steps + 1` falling times, the last one 0."""
        noisy, clean = self.ends(schedule).tolist()
        return schedule.snap(ending_in_data(schedule.time_at(ramp(noisy, clean, steps))))


@dataclass(frozen=True)
class Karras(Levels):
    """`(sigma / alpha)^(1 / rho)` in equal steps from `noisy` to `clean`, then data.

    Karras et al. 2022 (arXiv:2206.00364), eq. 5. Their own schedule ends at `sigma_min = 0.002`, log-SNR 12.4; there
    Heun's method makes noise of 5 and 10 evaluations.
    """

    rho: Positive = 7.0

    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        """`steps + 1` falling times, the last one 0."""
        noisy, clean = (-0.5 * self.ends(schedule) / self.rho).exp().tolist()
        return schedule.snap(ending_in_data(schedule.time_at(-2 * self.rho * ramp(noisy, clean, steps).log())))


@dataclass(frozen=True)
class Leading(Grid):
    """`t_min` and each whole stride above it: 1, 1 + k, 1 + 2k .. on a table, `k = floor(T / steps)`.

    Song, Meng & Ermon 2021 (arXiv:2010.02502), app. D.2, "linear". It leaves out the noisiest times.
    """

    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        """`steps + 1` falling times, the last one 0."""
        stride = schedule.step * ((schedule.t_max / schedule.step + 1e-9) // steps)
        return schedule.snap(ending_in_data(schedule.t_min + stride * ramp(steps - 1, 0, steps)))


@dataclass(frozen=True)
class Linspace(Grid):
    """Both ends of the training times and equal steps between. Nichol & Dhariwal 2021 (arXiv:2102.09672), section 4."""

    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        """`steps + 1` falling times, the last one 0."""
        return schedule.snap(ending_in_data(ramp(schedule.t_max, schedule.t_min, steps)))


@dataclass(frozen=True)
class Sections(Grid):
    """The axis in equal sections, the one nearest to data first, with as many linspace steps in each as `counts` says.

    Nichol & Dhariwal 2021 (arXiv:2102.09672), section 4 and their code's `space_timesteps`.
    """

    counts: tuple[Count, ...]

    @property
    @override
    def steps(self) -> int:
        return sum(self.counts)

    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        """`steps + 1` falling times, the last one 0. Raises ValueError unless `steps` is the sum of the counts."""
        if steps != sum(self.counts):
            raise ValueError(f"grid.counts={list(self.counts)} makes {sum(self.counts)} steps, not {steps}")
        timesteps = round(schedule.t_max / schedule.step)
        size, rest = divmod(timesteps, len(self.counts))
        times: list[Tensor] = []
        start = 1
        for i, count in enumerate(self.counts):
            end = start + size + (i < rest)
            times.append(ramp(start, end - 1, count) if count > 1 else ramp(start, start, count))
            start = end
        return schedule.snap(ending_in_data(schedule.step * torch.cat(times).flip(0)))


@dataclass(frozen=True)
class Explicit(Grid):
    """The given `times`, in the schedule's own time: 1..T on a table. The data end is added where it is left out."""

    times: tuple[float, ...]

    def __post_init__(self) -> None:
        rises = any(t <= s for t, s in itertools.pairwise(self.times))
        if rises or min(self.times, default=-1) < 0 or max(self.times) == 0:
            raise ValueError(f"grid.times={list(self.times)} must fall, from the noisiest time to the data at 0")

    @property
    @override
    def steps(self) -> int:
        return sum(t > 0 for t in self.times)

    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        """`steps + 1` falling times, the last one 0.

        Raises ValueError unless `steps` is their number, or where the schedule has no such time.
        """
        times = torch.tensor([t for t in self.times if t > 0], dtype=torch.float64)
        if steps != len(times):
            raise ValueError(f"grid.times makes {len(times)} steps, not {steps}: set nfe to what {len(times)} take")
        if times[0] > schedule.t_max or (schedule.discrete and not times.equal(times.round())):
            kind = "whole times" if schedule.discrete else "times"
            raise ValueError(f"grid.times={list(self.times)}: {schedule} has {kind} up to {schedule.t_max:g}")
        return ending_in_data(times)


NOISY, CLEAN = -9.0, 7.0  # log-SNRs between which the options of `grid=` place noise levels
GRIDS: dict[str, Grid] = {"log_snr": LogSNR(NOISY, CLEAN), "karras": Karras(NOISY, CLEAN)}  # as those options are
GRIDS |= {"quadratic": Quadratic(), "uniform": Uniform()}
