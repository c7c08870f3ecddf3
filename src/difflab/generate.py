"""The one sampling loop, its noise, and the count of network evaluations."""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor, nn

from difflab.denoiser import AnyDenoiser, Denoise
from difflab.gaussian import scale
from difflab.grid import Grid, Uniform
from difflab.sampler import Sampler

log = logging.getLogger(__name__)


def keyed(*key: int) -> Generator:
    """A CPU generator that is a pure function of its key."""
    # the length too, since numpy takes (1, 2) and (1, 2, 0) for one key
    state = np.random.SeedSequence((len(key), *key)).generate_state(1, np.uint64)
    return Generator().manual_seed(int(state[0]))


@dataclass(frozen=True)
class SampleNoise:
    """Standard normal noise as a pure function of (seed, sample index, draw): no batch size or process count enters."""

    seed: int
    indices: Sequence[int]

    def __call__(self, x: Tensor, k: int) -> Tensor:
        """The `k`-th draw for samples like `x`, whose rows are the samples of `indices`."""
        rows = [torch.randn(x.shape[1:], generator=keyed(self.seed, i, k)) for i in self.indices]
        return torch.stack(rows).to(x)


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
    evaluations: float  # of the network, per sample, as counted


@contextmanager
def counting(denoiser: nn.Module) -> Iterator[list[int]]:
    """Collect the batch size of every evaluation of the innermost denoisers: their sum is the number of evaluations."""
    inner = [m for m in denoiser.modules() if isinstance(m, AnyDenoiser)]
    leaves = [m for m in inner if not any(isinstance(c, AnyDenoiser) for c in m.children())]
    rows: list[int] = []
    hooks = [m.register_forward_hook(lambda _module, args, _out: rows.append(len(args[0]))) for m in leaves]
    try:
        yield rows
    finally:
        for hook in hooks:
            hook.remove()


@cache
def say_once(message: str) -> None:
    """Warn, once in a process, whatever is sampled how often."""
    log.warning(message)


def steps_for(denoiser: AnyDenoiser, sampler: Sampler, nfe: int) -> int:
    """The most steps that `nfe` network evaluations a sample pay for; 1 if the sampler takes as many as it needs.

    Raises ValueError if they do not pay for one; says so where they do not come out even, or are not used.
    """
    if sampler.evaluations is None or sampler.last is None:
        say_once(f"nfe={nfe} is not used: {sampler} takes as many evaluations as its tolerances ask, and counts them")
        return 1
    price, last = sampler.evaluations * denoiser.evaluations, sampler.last * denoiser.evaluations
    if nfe < last:
        raise ValueError(f"nfe={nfe} is less than one step of {sampler}, which takes {last} network evaluations")
    steps = 1 + (nfe - last) // price
    if (used := last + (steps - 1) * price) < nfe:
        say_once(f"nfe={nfe}: {sampler} takes {price} evaluations a step and {last} in the last, so {used} are used")
    return steps


def times_for(denoiser: AnyDenoiser, sampler: Sampler, grid: Grid, nfe: int) -> Tensor:
    """The grid's times for `nfe` network evaluations a sample; the axis's two ends if the sampler makes its own grid.

    Raises ValueError where `nfe` does not pay for a step, or where the grid cannot have that many.
    """
    steps = steps_for(denoiser, sampler, nfe)
    return (Uniform() if sampler.evaluations is None else grid)(denoiser.schedule, steps)


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
    """Sample with `nfe` network evaluations a sample: sample k depends on (seed, indices[k], labels[k]) alone.

    `labels` is of shape `(n,)`; `indices` default to 0..n-1; `progress` is told the number of finished samples.
    Raises ValueError where the grid cannot have that many steps.
    """
    indices = range(len(labels)) if indices is None else indices
    times = times_for(denoiser, sampler, grid, nfe)
    done: list[Tensor] = []
    with counting(denoiser) as rows:
        for k in range(0, len(indices), batch_size):
            noise = SampleNoise(seed, indices[k : k + batch_size])
            like = torch.empty(len(noise.indices), *denoiser.shape, device=device)
            x = scale(denoiser.schedule(times[0]).sigma, noise(like, 0))
            denoise = denoiser.bind(labels[k : k + batch_size].to(device))
            _, x = deque(trajectory(denoise, sampler, times, x, noise), maxlen=1).pop()
            done.append(x.cpu())
            progress(k + len(x))
    return Samples(torch.cat(done), sum(rows) / len(indices))
