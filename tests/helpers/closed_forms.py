"""Gaussian data, of which the denoiser, the density and every sampler's moments are known in closed form."""

import math

import torch
from torch.distributions import Normal

from difflab.denoiser.exact import Gaussian, Mixture
from difflab.denoiser.likelihood import bits
from difflab.process.gaussian import discretised_log_likelihood
from difflab.process.noise import keyed
from difflab.sampler.adaptive import Adaptive
from difflab.sampler.generate import trajectory
from difflab.sampler.runge_kutta import RK4, Midpoint

MEAN, VAR = 0.3, 0.25


class GaussianWithVariance(Gaussian):
    """An exact denoiser that also offers a learned variance, so that every sampler can be run."""

    learned_variance = True

    def forward(self, x, t, label, s=None):
        return super().forward(x, t, label, s)._replace(v=torch.full_like(x, 0.5))


def gaussian(schedule, shape=(1, 1, 1), mean=MEAN, var=VAR, learned_variance=True):
    """The optimal denoiser of N(mean, var) in each dimension, in float64."""
    one = torch.ones(shape, dtype=torch.float64)
    kind = GaussianWithVariance if learned_variance else Gaussian
    return kind(schedule, mean * one, var * one)


def draw(n, shape=(1, 1, 1), mean=MEAN, var=VAR):
    """Samples of N(mean, var)."""
    return mean + var**0.5 * torch.randn(n, *shape, dtype=torch.float64, generator=keyed(3))


def surprisal(x, mean=MEAN, var=VAR):
    """`-log2 N(x; mean, var)` per dimension."""
    return -bits(Normal(f64(mean), f64(var).sqrt()).log_prob(x))


def quantised(x):
    """The nearest of the 256 values of an 8-bit image in [-1, 1]."""
    return ((x.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1


def mass(x, mean=MEAN, var=VAR):
    """`-log2` of the mass that N(mean, var) gives to the bin of `x`, per dimension."""
    return -bits(discretised_log_likelihood(x, torch.full_like(x, mean), torch.full_like(x, math.log(var))))


def pixels(schedule):
    """The optimal denoiser of quantised samples of N(MEAN, VAR)."""
    x = torch.linspace(-1, 1, 256, dtype=torch.float64).reshape(-1, 1, 1, 1)
    return Mixture(schedule, x, torch.zeros(1, dtype=torch.float64), 2 ** -mass(x))


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
