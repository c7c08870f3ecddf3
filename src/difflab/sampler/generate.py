"""The one sampling loop, its noise, and the count of network evaluations."""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from difflab.denoiser.base import AnyDenoiser, Denoise
from difflab.process.gaussian import scale
from difflab.process.noise import SampleNoise
from difflab.sampler.ancestral import Ancestral
from difflab.sampler.base import Sampler
from difflab.sampler.evaluations import CountingProbe, counting, tabulated
from difflab.sampler.grid import Grid, Uniform

log = logging.getLogger(__name__)

GAIN = 20  # times the gain at log-SNR 0: further out an estimate of x0 is mostly the error of the network


def no_noise(like: Tensor, k: int) -> Tensor:
    """Zeros in place of the k-th draw, for a sampler that draws none."""
    return torch.zeros_like(like)


def trajectory(
    denoise: Denoise,
    sampler: Sampler,
    times: Tensor,
    x: Tensor,
    noise: Callable[[Tensor, int], Tensor],
    draws: Iterator[int] | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Step `x` down the falling `times` and yield each `(time, x)`; `noise(x, k)` is the k-th draw, from 1 on."""
    draws = draws or itertools.count(1)
    state: Any = sampler.init(x)
    for t, s in itertools.pairwise(times.unbind()):
        x, state = sampler.step(denoise, x, t, s, state, lambda like: noise(like, next(draws)))
        yield s, x


class Samples(NamedTuple):
    """Generated samples and what each of them cost."""

    images: Tensor  # (n, *) on the CPU
    nfe: float  # network evaluations per sample, as counted


def count_nfe(denoiser: AnyDenoiser, sampler: Sampler, times: Tensor) -> int:
    """The network evaluations a sample that stepping down `times` takes, by a dry run of the sampler."""
    with tabulated(denoiser, times):
        meter, x = CountingProbe(denoiser), torch.zeros(1, *denoiser.shape)
        deque(trajectory(meter, sampler, times, x, lambda like, k: torch.zeros_like(like)), 0)
    return meter.nfe


@cache
def warn_once(message: str) -> None:
    """Log a warning, once in a process for each message."""
    log.warning(message)


def noisiest_start(denoiser: AnyDenoiser) -> Tensor:
    """The noisiest time at which x0 means something: t_max, or where its `gain` is GAIN times that at log-SNR 0.

    A network of eps that was trained for minutes errs by some 2 % of the noise. Its x0 then errs by .02 sigma / alpha,
    which is as much as the mean of all images does at `sigma / alpha = 20`, and more further out.
    """
    schedule = denoiser.schedule
    ends = torch.tensor([schedule.t_max], dtype=torch.float64)
    ends = torch.cat([ends, schedule.time_at(torch.zeros_like(ends))])
    noisy, middle = denoiser.gain(ends)
    if noisy <= GAIN * middle:
        return ends[0]
    noisiest, even = schedule.log_snr(ends).clamp(min=-100).tolist()
    times = schedule.time_at(torch.linspace(noisiest, even, 400, dtype=torch.float64))
    return times[denoiser.gain(times) <= GAIN * middle][0]


def latest_start(denoiser: AnyDenoiser, sampler: Sampler, grid: Grid) -> Tensor | None:
    """The `noisiest_start`, where a sampler that draws no noise must not start earlier; warns if that is not t_max.

    None for samplers that draw noise, and for grids that state their own times, which are kept.
    """
    if sampler.stochastic:
        return None
    schedule, start = denoiser.schedule, noisiest_start(denoiser)
    why = f"in more noise the x0 of a network of {denoiser.target} is mostly error, which range=clip would limit"
    if grid.steps:
        if (first := grid(schedule, grid.steps)[0]) > start:
            warn_once(f"{grid} starts at t={first:g}, and not at t={start:.4g}: {why}")
        return None
    if start < schedule.t_max:
        level = f"log-SNR {schedule.log_snr(start):.1f}"
        warn_once(f"sampling starts at t={start:.4g}, {level}, in place of {schedule.t_max:g}: {why}")
    return start


def times_for(denoiser: AnyDenoiser, sampler: Sampler, grid: Grid, nfe: int) -> Tensor:
    """The grid's times for as many steps as fit into `nfe` network evaluations a sample.

    They are the axis's two ends if the sampler takes as many as it needs, which `nfe=0` stands for. They start at
    `noisiest_start`, which is t_max where x0 is kept in a range, unless the grid states its own times. Warns if fewer
    evaluations are used than `nfe`, if `nfe` is not used, and if the first time is later than the grid's or too noisy.
    Raises ValueError where `nfe` does not pay for a step, or where the grid cannot have that many, and for all but the
    whole chain of a denoiser with a learned encoder.
    """
    schedule = denoiser.schedule
    if sampler != Ancestral(v=None):
        denoiser.require_mixes(str(sampler))
    start = latest_start(denoiser, sampler, grid)

    def grid_of(steps: int) -> Tensor:
        times = grid(schedule, steps)
        return times if start is None or times[0] <= start else torch.cat([start[None], times[times < start]])

    if sampler.evaluations is None:
        if nfe:
            warn_once(
                f"nfe={nfe} is not used: {sampler} takes as many evaluations as its tolerances ask, and counts them"
            )
        return Uniform()(schedule, 1) if start is None else torch.stack([start, torch.zeros_like(start)])
    nfe_of_one_step, nfe_of_two_steps = (count_nfe(denoiser, sampler, Uniform()(schedule, steps)) for steps in (1, 2))
    steps = grid.steps or max(1, 1 + (nfe - nfe_of_one_step) // (nfe_of_two_steps - nfe_of_one_step))
    times = grid_of(steps)
    while (used := count_nfe(denoiser, sampler, times)) > nfe:  # where the cost of a call depends on its time
        if steps == 1 or grid.steps:
            raise ValueError(f"nfe={nfe} is too small for {steps} steps of {sampler}, which take {used} evaluations")
        steps = max(1, min(steps - 1, steps * nfe // used))
        times = grid_of(steps)
    more = used
    while more < nfe and not grid.steps:
        try:
            finer = grid_of(steps := steps + 1)
        except ValueError:  # the grid has no more
            break
        if (more := count_nfe(denoiser, sampler, finer)) <= nfe:
            times, used = finer, more
    if grid.steps and used + nfe_of_two_steps - nfe_of_one_step <= nfe:
        raise ValueError(f"nfe={nfe}: the {steps} steps of {grid} take {used} network evaluations: give nfe={used}")
    if (few := len(times) - 1) < round(schedule.t_max / schedule.step):
        denoiser.require_mixes(f"a chain of {few} step{'s' * (few > 1)}")
    if used < nfe:
        warn_once(f"nfe={nfe}: {sampler} uses {used} in {len(times) - 1} steps, the most that fit")
    return times


@torch.no_grad()
def integrate(
    denoiser: AnyDenoiser,
    sampler: Sampler,
    times: Tensor,
    x: Tensor | None,
    labels: Tensor,
    *,
    indices: Sequence[int] | None = None,
    seed: int = 0,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    progress: Callable[[int], None] = lambda done: None,
) -> Samples:
    """Run the sampler from `times[0]` to `times[-1]`, starting from `x: (n, *)` or from noise; rising times add noise.

    Sample k depends on (seed, indices[k], labels[k]), and x[k], alone; `indices` default to 0..n-1; `progress` is
    called with the number of finished samples.
    """
    indices = range(len(labels)) if indices is None else indices
    done: list[Tensor] = []
    with tabulated(denoiser, times), counting(denoiser) as rows:
        for k in range(0, len(indices), batch_size):
            part = slice(k, k + batch_size)
            noise = SampleNoise(seed, indices[part])
            if x is None:
                like = torch.empty(len(noise.indices), *denoiser.shape, device=device)
                start = scale(denoiser.schedule(times[0]).sigma, noise(like, 0))
            else:
                start = x[part].to(device)
            steps = trajectory(denoiser.bind(labels[part].to(device)), sampler, times, start, noise)
            _, end = deque(itertools.chain([(times[0], start)], steps), maxlen=1).pop()
            done.append(end.cpu())
            progress(k + len(end))
    return Samples(torch.cat(done), sum(rows) / len(indices))


@torch.no_grad()
def generate(
    denoiser: AnyDenoiser,
    sampler: Sampler,
    grid: Grid,
    *,
    nfe: int,
    labels: Tensor,
    indices: Sequence[int] | None = None,
    seed: int = 0,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    progress: Callable[[int], None] = lambda done: None,
) -> Samples:
    """Sample from noise with `nfe` network evaluations a sample.

    Sample k depends on (seed, indices[k], labels[k]) alone. `labels` is of shape `(n,)`; the other arguments are
    those of `integrate`. Raises ValueError where the grid cannot have that many steps.
    """
    times = grid.fit(denoiser, sampler, times_for(denoiser, sampler, grid, nfe))
    return integrate(
        denoiser,
        sampler,
        times,
        None,
        labels,
        indices=indices,
        seed=seed,
        batch_size=batch_size,
        device=device,
        progress=progress,
    )
