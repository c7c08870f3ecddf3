"""The exact variational bound of a discrete chain, in bits per dimension: `L_T + sum of L_t + L_0`."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from difflab.denoiser import Denoise, Estimate
from difflab.gaussian import discretised_log_likelihood, kl, scale
from difflab.generate import keyed
from difflab.schedule import Schedule


def bits(nats: Tensor) -> Tensor:
    """Mean over the dimensions of each sample, from nats to bits: `(B, *) -> (B,)`."""
    return nats.flatten(1).mean(1) / math.log(2)


def vlb_term(schedule: Schedule, estimate: Estimate, x0: Tensor, eps: Tensor, t: Tensor, v: float = 0.0) -> Tensor:
    """`L_{t-1} = KL(q(x_{t-1} | x_t, x0) || p(x_{t-1} | x_t))`, and at t = 1 `L_0 = -log p(x0 | x_1)`, in bits/dim.

    Shape `(B,)`. The model's variance is the learned one, or where there is none the fixed `v` of
    `Bridge.log_variance`. Ho et al. 2020 (arXiv:2006.11239), eqs. 5 and 13.
    """
    s = (t - schedule.tick).clamp(min=0)
    posterior = schedule.bridge(s, t)
    mean = posterior.mean(estimate.x0, estimate.eps)
    log_var = posterior.log_variance(torch.full_like(x0, v) if estimate.spread is None else estimate.spread)
    true_log_var = scale(posterior.lower.log(), torch.ones_like(x0))
    between = kl(posterior.mean(x0, eps), true_log_var, mean, log_var)
    data_end = (s == 0).to(x0.device).reshape(-1, *[1] * (x0.ndim - 1))
    return bits(torch.where(data_end, -discretised_log_likelihood(x0, mean, log_var), between))


class Bound(NamedTuple):
    """The variational bound and its parts, each of shape `(B,)`, in bits/dim."""

    total: Tensor
    prior: Tensor  # L_T
    diffusion: Tensor  # sum of L_1 .. L_{T-1}
    reconstruction: Tensor  # L_0


@torch.no_grad()
def variational_bits_per_dim(denoise: Denoise, x0: Tensor, seed: int = 0, v: float = 0.0) -> Bound:
    """`-log p(x0) <= L_T + sum of L_t + L_0` with every one of the chain's steps evaluated once.

    The prior is N(0, sigma_T^2), from which samples start. `x0` lies on the 256 values of an 8-bit image in [-1, 1].
    Ho et al. 2020 (arXiv:2006.11239), eq. 5.
    """
    schedule, g = denoise.schedule, keyed(seed)
    last = schedule(torch.tensor(schedule.t_max, dtype=torch.float64))
    log_var = scale(2 * last.sigma.log(), torch.ones_like(x0))
    prior = bits(kl(scale(last.alpha, x0), log_var, torch.zeros_like(x0), log_var))
    terms = []
    for t in torch.arange(schedule.tick, schedule.t_max + schedule.tick / 2, schedule.tick, dtype=torch.float64):
        eps = torch.randn(x0.shape, generator=g).to(x0)
        x_t = schedule(t)(x0, eps)
        terms.append(vlb_term(schedule, denoise(x_t, t), x0, eps, t, v))
    reconstruction, diffusion = terms[0], torch.stack(terms[1:]).sum(0)
    return Bound(prior + diffusion + reconstruction, prior, diffusion, reconstruction)
