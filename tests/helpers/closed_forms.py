"""Gaussian data as the laws have it, the likelihoods of its samples, and numbers in float64."""

import math

import torch
from torch.distributions import Normal

from difflab.denoiser.exact import Mixture
from difflab.denoiser.likelihood import bits
from difflab.laws.gaussian import MEAN, VAR, bound, end, flow, gaussian, marginal, moments
from difflab.process.gaussian import discretised_log_likelihood
from difflab.process.noise import keyed
from difflab.sampler.adaptive import Adaptive
from difflab.sampler.adaptive_sde import AdaptiveSDE
from difflab.sampler.runge_kutta import RK4, Midpoint

__all__ = [
    "MEAN",
    "VAR",
    "adapts",
    "between",
    "bound",
    "column",
    "draw",
    "end",
    "f64",
    "flow",
    "gaussian",
    "marginal",
    "mass",
    "moments",
    "normal",
    "pixels",
    "quantised",
    "surprisal",
]


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
    return isinstance(sampler, Adaptive | AdaptiveSDE | Midpoint | RK4)
