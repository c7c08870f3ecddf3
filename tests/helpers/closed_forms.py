"""Gaussian data as the laws have it, and numbers in float64."""

import torch

from difflab.laws.gaussian import MEAN, VAR, bound, end, flow, gaussian, marginal, moments
from difflab.sampler.adaptive import Adaptive
from difflab.sampler.runge_kutta import RK4, Midpoint

__all__ = [
    "MEAN",
    "VAR",
    "adapts",
    "between",
    "bound",
    "column",
    "end",
    "f64",
    "flow",
    "gaussian",
    "marginal",
    "moments",
    "normal",
]


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
