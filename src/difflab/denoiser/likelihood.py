"""Likelihoods in bits per dimension: the bound of a discrete chain, the continuous-time bound, and the exact flow.

Every function takes `levels`: 256 says that `x0` lies on the 256 values of an 8-bit image in [-1, 1], None that it is
continuous, as points are, and a density is meant.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Generator, Tensor
from torchdiffeq import odeint

from difflab.denoiser.base import Denoise, Estimate, velocity
from difflab.process.gaussian import discretised_log_likelihood, kl, scale
from difflab.process.noise import keyed
from difflab.process.schedule import Schedule

MIN_LOG_SNR = -20.0  # a log-SNR at which nothing of the sample is left


def bits(nats: Tensor) -> Tensor:
    """Mean over the dimensions of each sample, from nats to bits: `(B, *) -> (B,)`."""
    return nats.flatten(1).mean(1) / math.log(2)


def surprise(x: Tensor, mean: Tensor, log_var: Tensor, levels: int | None) -> Tensor:
    """`-log p(x)` per element in nats under N(mean, var): of the bin of `x`, or of the density if `levels` is None."""
    if levels is None:
        return 0.5 * ((x - mean) ** 2 * (-log_var).exp() + log_var + math.log(2 * math.pi))
    return -discretised_log_likelihood(x, mean, log_var, levels)


def check_levels(x0: Tensor, levels: int | None) -> None:
    """Raise ValueError if `x0` does not lie on that many equidistant values of [-1, 1]."""
    if levels is not None:
        place = (x0 + 1) * ((levels - 1) / 2)
        if not torch.allclose(place, place.round().clamp(0, levels - 1), rtol=0, atol=0.01):
            raise ValueError(
                f"these samples do not lie on the {levels} values of [-1, 1]: say levels=None for continuous data"
            )


class VariationalBound(NamedTuple):
    """The variational bound and its parts, each of shape `(B,)`, in bits/dim."""

    total: Tensor
    prior: Tensor  # L_T
    diffusion: Tensor  # sum of L_1 .. L_{T-1}
    reconstruction: Tensor  # L_0


def prior_term(log_snr: Tensor, x0: Tensor) -> Tensor:
    """`L_T = KL(q(x_T | x0) || N(0, sigma_T^2))` in bits/dim; samples start from that normal. Shape `(B,)`."""
    return bits(0.5 * scale(log_snr.exp(), x0**2))


def vlb_term(
    schedule: Schedule,
    estimate: Estimate,
    x0: Tensor,
    eps: Tensor,
    t: Tensor,
    v: float = 0.0,
    levels: int | None = 256,
) -> Tensor:
    """`L_{t-1} = KL(q(x_{t-1} | x_t, x0) || p(x_{t-1} | x_t))`, and at t = 1 `L_0 = -log p(x0 | x_1)`, in bits/dim.

    Shape `(B,)`. The model's variance is the learned one, or where there is none the fixed `v` of
    `Bridge.log_variance`. Ho et al. 2020 (arXiv:2006.11239), eqs. 5 and 13.
    """
    s = (t - schedule.step).clamp(min=0)
    posterior = schedule.bridge(s, t)
    mean = posterior.mean(estimate.x0, estimate.eps)
    log_var = posterior.log_variance(torch.full_like(x0, v) if estimate.v is None else estimate.v)
    true_log_var = scale(posterior.lower.log(), torch.ones_like(x0))
    between = kl(posterior.mean(x0, eps), true_log_var, mean, log_var)
    data_end = (s == 0).to(x0.device).reshape(-1, *[1] * (x0.ndim - 1))
    return bits(torch.where(data_end, surprise(x0, mean, log_var, levels), between))


@torch.no_grad()
def variational_bits_per_dim(
    denoise: Denoise, x0: Tensor, seed: int = 0, v: float = 0.0, levels: int | None = 256
) -> VariationalBound:
    """`-log p(x0) <= L_T + sum of L_t + L_0` with every one of the chain's steps evaluated once.

    Ho et al. 2020 (arXiv:2006.11239), eq. 5. Raises ValueError if `x0` is not on the levels.
    """
    check_levels(x0, levels)
    schedule, g = denoise.schedule, keyed(seed)
    prior = prior_term(schedule.log_snr(torch.tensor(schedule.t_max, dtype=torch.float64)), x0)
    terms = []
    for t in torch.arange(schedule.step, schedule.t_max + schedule.step / 2, schedule.step, dtype=torch.float64):
        eps = torch.randn(x0.shape, generator=g).to(x0)
        x_t = schedule(t)(x0, eps)
        terms.append(vlb_term(schedule, denoise(x_t, t), x0, eps, t, v, levels))
    reconstruction, diffusion = terms[0], torch.stack(terms[1:]).sum(0)
    return VariationalBound(prior + diffusion + reconstruction, prior, diffusion, reconstruction)


@torch.no_grad()
def continuous_bits_per_dim(
    denoise: Denoise, x0: Tensor, seed: int = 0, n: int = 100, levels: int | None = 256
) -> VariationalBound:
    """`-log p(x0) <= L_T + 1/2 int |eps - eps_hat|^2 dlog_snr + L_0`, in continuous time.

    Kingma et al. 2021 (arXiv:2107.00630), eqs. 11-18. The integral does not depend on the path between its ends, so
    it is estimated at `n` values of the log-SNR for each sample, uniform between those of t_min and t_max, stratified
    over the samples too.
    Raises ValueError on a table, whose chain has a bound of its own, and if `x0` is not on the levels.
    """
    check_levels(x0, levels)
    schedule, g = denoise.schedule, keyed(seed)
    if schedule.discrete:
        raise ValueError(f"{schedule} has no continuous time: take variational_bits_per_dim, or a continuous schedule")
    start = torch.tensor(schedule.t_min, dtype=torch.float64)
    clean = schedule.log_snr(start)
    # Where the straight path ends log-SNR is minus infinity: a chain that begins at a faint one is as valid a model.
    noisy = schedule.log_snr(torch.tensor(schedule.t_max, dtype=torch.float64)).clamp(min=MIN_LOG_SNR)
    # In the mean over the samples the integrand is seen at len(x0) n equidistant places.
    offset = (torch.rand(1, generator=g, dtype=torch.float64) + torch.arange(len(x0)) / len(x0)) % 1
    errors = []
    for k in range(n):
        t = schedule.time_at(torch.lerp(noisy, clean, (k + offset) / n))
        eps = torch.randn(x0.shape, generator=g).to(x0)
        errors.append(bits((eps - denoise(schedule(t)(x0, eps), t).eps) ** 2))
    diffusion = scale(0.5 * (clean - noisy), torch.stack(errors).mean(0))
    eps = torch.randn(x0.shape, generator=g).to(x0)
    mean = x0 + scale((-0.5 * clean).exp(), eps)
    reconstruction = bits(surprise(x0, mean, scale(-clean, torch.ones_like(x0)), levels))
    prior = prior_term(noisy, x0)
    return VariationalBound(prior + diffusion + reconstruction, prior, diffusion, reconstruction)


class Trace(Protocol):
    """A way to the trace of a Jacobian."""

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        """Directions `(P, *x.shape)` with `trace J = sum_p e_p^T J e_p` for each sample, or in the mean."""


@dataclass(frozen=True)
class Hutchinson:
    """`probes` random signs: unbiased. Hutchinson 1990; Grathwohl et al. 2019 (arXiv:1810.01367), eq. 8."""

    probes: int = 1

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        """Signs divided by `sqrt(probes)`."""
        signs = 2 * torch.randint(2, (self.probes, *x.shape), generator=generator) - 1
        return signs.to(x) / math.sqrt(self.probes)


@dataclass(frozen=True)
class ExactTrace:
    """Each dimension in turn: exact, and as many backward passes as there are dimensions."""

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        """The unit vectors."""
        n = x[0].numel()
        return torch.eye(n).to(x).reshape(n, 1, *x.shape[1:]).expand(n, *x.shape)


@torch.no_grad()
def flow_bits_per_dim(
    denoise: Denoise,
    x0: Tensor,
    *,
    seed: int = 0,
    levels: int | None = 256,
    trace: Trace = Hutchinson(),
    rtol: float = 1e-5,
    atol: float = 1e-5,
) -> Tensor:
    """`-log2 p(x0) / D` of the probability flow from t_min to t_max, where samples start from N(0, sigma_T^2).

    `log p(x(t_min)) = log p(x(t_max)) + int div(dx/dt) dt`, by adaptive dopri5: Song et al. 2021 (arXiv:2011.13456),
    app. D.2. With `levels` the noise of a bin's width is added and its bits are counted, which bounds the discrete
    value: Theis et al. 2016 (arXiv:1511.01844), section 3.1. Raises ValueError if `x0` is not on the levels.
    """
    check_levels(x0, levels)
    schedule, g = denoise.schedule, keyed(seed)
    directions = trace(x0, g)
    bin_width = 0.0 if levels is None else 2 / (levels - 1)
    x = x0 + bin_width * (torch.rand(x0.shape, generator=g) - 0.5).to(x0)

    def flow(t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        x = state[0].detach().requires_grad_()
        with torch.enable_grad():
            v = velocity(denoise, x, t.to("cpu", torch.float64).clamp(max=schedule.t_max))
        divergence = torch.zeros_like(x)
        for e in directions:
            divergence += e * torch.autograd.grad(v, x, e, retain_graph=True)[0]
        return v.detach(), divergence.flatten(1).mean(1)

    span = torch.tensor([schedule.t_min, schedule.t_max], device=x.device, dtype=x.dtype)
    # Beyond t_max schedules and networks have no meaning: no step reaches there, and the guess of the first is clamped.
    options = {"step_t": span[1:], "dtype": x.dtype}
    start = (x, x.new_zeros(len(x)))
    x_T, growth = (y[-1] for y in odeint(flow, start, span, rtol=rtol, atol=atol, method="dopri5", options=options))
    log_var = 2 * schedule(torch.tensor(schedule.t_max, dtype=torch.float64)).sigma.log()
    ends = surprise(x_T, torch.zeros_like(x_T), scale(log_var, torch.ones_like(x_T)), None)
    found: Tensor = bits(ends) - growth / math.log(2)
    return found if levels is None else found - math.log2(bin_width)
