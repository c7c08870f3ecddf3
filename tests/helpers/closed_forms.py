"""Gaussian data, of which the denoiser, the density and every sampler's moments are known in closed form."""

import torch

from difflab.denoiser.exact import Gaussian
from difflab.sampler.adaptive import Adaptive
from difflab.sampler.generate import trajectory
from difflab.sampler.runge_kutta import RK4, Midpoint

MEAN, VAR = 0.3, 0.25


class GaussianWithVariance(Gaussian):
    """An exact denoiser that also offers a learned variance, so that every sampler can be run."""

    learned_variance = True

    def forward(self, x, t, label, s=None):
        return super().forward(x, t, label)._replace(v=torch.full_like(x, 0.5))


def gaussian(schedule, shape=(1, 1, 1), learned_variance=True):
    """The optimal denoiser of N(MEAN, VAR) in each dimension, in float64."""
    one = torch.ones(shape, dtype=torch.float64)
    kind = GaussianWithVariance if learned_variance else Gaussian
    return kind(schedule, MEAN * one, VAR * one)


def bound(denoiser, n):
    """The denoiser with `n` labels of class 0."""
    return denoiser.bind(torch.zeros(n, dtype=torch.long))


def f64(*values):
    """A float64 tensor of these numbers."""
    return torch.tensor(values, dtype=torch.float64)


def normal(*shape, seed=0):
    """Standard normal numbers in float64, a function of the seed."""
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def column(*values):
    """Samples of one number each."""
    return f64(*values).reshape(-1, 1, 1, 1)


def adapts(sampler):
    """Whether the sampler chooses its own steps."""
    return sampler.evaluations is None


def between(sampler):
    """Whether it evaluates between the times of a grid, which discrete schedules refuse."""
    return isinstance(sampler, Adaptive | Midpoint | RK4)


@torch.no_grad()
def end(sampler, schedule, times, x, noise=lambda like, k: torch.zeros_like(like)):
    """Where the steps over `times` lead."""
    *_, (_, out) = trajectory(bound(gaussian(schedule), len(x)), sampler, times, x, noise)
    return out


def moments(sampler, schedule, times):
    """Mean and variance of the samples, from the responses to x_T and to each draw of noise: no Monte Carlo."""
    m = schedule(times[0])
    mean, std = m.alpha * MEAN, (m.alpha**2 * VAR + m.sigma**2).sqrt()
    x = torch.zeros(2 + 2 * (sampler.evaluations or 0) * len(times), 1, 1, 1, dtype=torch.float64)
    x[1] = std

    def impulse(like, k):
        z = torch.zeros_like(like)
        z[1 + k] = 1
        return z

    base, response, *kicks = end(sampler, schedule, times, x, impulse).flatten()
    var = (response - base) ** 2 + sum((k - base) ** 2 for k in kicks)
    return (base + (response - base) * mean / std).item(), var.item()
