"""Laws in the plane or on the line whose density and score are known at every noise level."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from difflab.data.module import DataModule
from difflab.denoiser.base import AnyDenoiser
from difflab.denoiser.exact import Known, Mixture
from difflab.process.gaussian import scale
from difflab.process.noise import SampleNoise
from difflab.process.schedule import Schedule
from difflab.sampler.base import Sampler
from difflab.sampler.generate import trajectory
from difflab.sampler.grid import Karras

POINTS = 2000  # of a training set that stands for a law


def law_of(data: DataModule, schedule: Schedule) -> Mixture:
    """The law that data in the plane are drawn from; where that is no mixture of Gaussians, 2,000 training samples.

    Raises ValueError for data that are not points in the plane.
    """
    if data.shape != (2,):
        raise ValueError(f"data of shape {list(data.shape)} are no points in the plane: choose data=eight_gaussians")
    if getattr(data.source, "components", None) is not None:
        return Known(schedule, data)  # type: ignore[arg-type]  # a tuple is a sequence
    x0 = data.samples()[0][:POINTS]
    return Mixture(schedule, x0, x0.new_zeros(1), x0.new_ones(len(x0)) / len(x0))


def on_a_line(law: Mixture) -> Mixture:
    """The law of the first coordinate."""
    return Mixture(law.schedule, law.means[:, :1].clone(), law.var, law.weights)


def square(extent: float, n: int) -> Tensor:
    """The nodes `(n n, 2)` of a square grid on -extent..extent, row by row from below."""
    at = torch.linspace(-extent, extent, n)
    y, x = torch.meshgrid(at, at, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], 1)


def spread_of(schedule: Schedule, t: Tensor) -> float:
    """The half width of a picture of x_t, if x_0 has unit variance: 2.6 standard deviations."""
    m = schedule(t)
    return 2.6 * math.hypot(float(m.alpha), float(m.sigma))


def null_labels(denoiser: AnyDenoiser, n: int) -> Tensor:
    """As many null labels."""
    return torch.full((n,), denoiser.classes)


@torch.no_grad()
def follow(law: AnyDenoiser, sampler: Sampler, z: Tensor, steps: int, seed: int) -> tuple[Tensor, Tensor]:
    """The falling times `(S,)` and the samples `(S, N, D)` on the way from `sigma z`, on the grid of Karras et al."""
    times = Karras()(law.schedule, steps)
    x = scale(law.schedule(times[0]).sigma, z)
    path = trajectory(law.bind(null_labels(law, len(z))), sampler, times, x, SampleNoise(seed, range(len(z))))
    return times, torch.stack([x, *[reached for _, reached in path]])
