"""Gaussian data N(MEAN, VAR), on which every denoiser is affine: the flow and a sampler's moments in closed form."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from difflab.denoiser.base import AnyDenoiser, Bound, Estimate
from difflab.denoiser.exact import Gaussian
from difflab.process.gaussian import Mix
from difflab.process.schedule import Schedule
from difflab.sampler.base import Sampler
from difflab.sampler.generate import no_noise, trajectory

MEAN, VAR = 0.3, 0.25


class GaussianWithVariance(Gaussian):
    """The optimal denoiser of a Gaussian that also offers a learned variance, so that every sampler can be run."""

    learned_variance = True

    def forward(self, x: Tensor, t: Tensor, label: Tensor, s: Tensor | None = None) -> Estimate:
        """Estimate with `v = 1/2`: the geometric mean of the two bounds of the variance."""
        return super().forward(x, t, label)._replace(v=torch.full_like(x, 0.5))


def gaussian(
    schedule: Schedule,
    shape: tuple[int, ...] = (1, 1, 1),
    mean: float = MEAN,
    var: float = VAR,
    learned_variance: bool = True,
) -> Gaussian:
    """The optimal denoiser of N(mean, var) in each dimension, in float64; `var = 0` is data of a single point."""
    one = torch.ones(shape, dtype=torch.float64)
    kind = GaussianWithVariance if learned_variance else Gaussian
    return kind(schedule, mean * one, var * one)


def bound(denoiser: AnyDenoiser, n: int) -> Bound:
    """The denoiser with `n` labels of class 0."""
    return denoiser.bind(torch.zeros(n, dtype=torch.long))


def marginal(m: Mix) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of `x_t`: `alpha MEAN` and `sqrt(alpha^2 VAR + sigma^2)`."""
    return m.alpha * MEAN, (m.alpha**2 * VAR + m.sigma**2).sqrt()


def flow(schedule: Schedule, t: Tensor, s: Tensor, x: Tensor) -> Tensor:
    """The probability flow from `t` to `s`, which keeps the number of standard deviations from the mean."""
    (mean_t, std_t), (mean_s, std_s) = marginal(schedule(t)), marginal(schedule(s))
    return mean_s + std_s * (x - mean_t) / std_t


def impulse(like: Tensor, k: int) -> Tensor:
    """Noise that is 1 in row `1 + k` of the k-th draw and 0 elsewhere: that row shows the response to the draw."""
    z = torch.zeros_like(like)
    z[1 + k] = 1
    return z


@torch.no_grad()
def end(
    sampler: Sampler, schedule: Schedule, times: Tensor, x: Tensor, noise: Callable[[Tensor, int], Tensor] = no_noise
) -> Tensor:
    """The samples `(B, 1, 1, 1)` to which the sampler's steps over `times` lead from `x`."""
    *_, (_, out) = trajectory(bound(gaussian(schedule), len(x)), sampler, times, x, noise)
    return out


def moments(sampler: Sampler, schedule: Schedule, times: Tensor) -> tuple[float, float]:
    """Mean and variance of the samples at `times[-1]`, where those at `times[0]` have the law of `x_t`.

    Every step is affine in the sample and in the noise. So the moments follow from the responses to the start and to
    each draw of noise, without Monte Carlo.
    """
    mean, std = marginal(schedule(times[0]))
    draws = 2 * (sampler.evaluations or 0) * len(times) if sampler.stochastic else 0  # at most
    x = torch.zeros(2 + draws, 1, 1, 1, dtype=torch.float64)
    x[1] = std
    out = end(sampler, schedule, times, x, impulse).flatten()
    response = out[1] - out[0]
    return (out[0] + response * mean / std).item(), (out[1:] - out[0]).square().sum().item()
