"""The variational bounds of a discrete chain and in continuous time, with every step or at some of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn.functional import softplus

from difflab.denoiser.base import Denoise, Estimate
from difflab.denoiser.likelihood.decoder import Decoder, FlatPrior, bits, check_levels, surprise
from difflab.process.gaussian import kl, scale, unmix
from difflab.process.noise import keyed
from difflab.process.schedule import Schedule
from difflab.process.target import X0

MIN_LOG_SNR = -20.0  # a log-SNR at which nothing of the sample is left
DECODER = FlatPrior()
DECODABLE = 0.16  # a noise level, in widths of a bin, from which it decodes all but 0.2 % of the values rightly
INTERVALS = 1000  # of log-SNR that continuous time is divided into, to choose where it is evaluated
FLAT = 0.3  # share of evaluations that are uniform in log-SNR, which bounds the weight of every other


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
    v: float | None = 0.0,
    decoder_v: float | None = 0.0,
    levels: int | None = 256,
) -> Tensor:
    """`L_{t-1} = KL(q(x_{t-1} | x_t, x0) || p(x_{t-1} | x_t))`, and at t = 1 `L_0 = -log p(x0 | x_1)`, in bits/dim.

    Shape `(B,)`. `v` is the model's variance as in `Bridge.log_variance`: 0 the posterior's, 1 beta_t, None the learned
    one. `decoder_v` is that of `p(x0 | x_1)`: 0 is the clipped posterior variance, that of t = 2, which Ho et al.'s
    code decodes both of their variances with; 1 is beta_1. Ho et al. 2020 (arXiv:2006.11239), eqs. 5 and 13. Raises
    ValueError for a learned variance that the estimate does not have.
    """

    def chosen(given: float | None) -> Tensor:
        if given is not None:
            return torch.full_like(x0, given)
        if estimate.v is None:
            raise ValueError("this network learned no variance: give v and decoder_v, 0 for small and 1 for large ones")
        return estimate.v

    s = (t - schedule.step).clamp(min=0)
    posterior = schedule.bridge(s, t)
    mean = posterior.mean(estimate.x0, estimate.eps)
    data_end = (s == 0).to(x0.device).reshape(-1, *[1] * (x0.ndim - 1))
    log_var = posterior.log_variance(torch.where(data_end, chosen(decoder_v), chosen(v)))
    true_log_var = scale(posterior.lower.log(), torch.ones_like(x0))
    between = kl(posterior.mean(x0, eps), true_log_var, mean, log_var)
    return bits(torch.where(data_end, surprise(x0, mean, log_var, levels), between))


def intervals_law(log_snr: Tensor) -> Tensor:
    """The probability that each interval between falling log-SNRs, `(J + 1,)`, is evaluated at; `(J,)`.

    In proportion to `log(1 + snr)`, the part of the bound of Gaussian data of unit variance, of which every draw then
    has the same value; and for the share FLAT to the log-SNR, which keeps draws bounded for any network.
    """
    gaussian, flat = -softplus(log_snr).diff(), -log_snr.diff()
    return torch.lerp(gaussian / gaussian.sum(), flat / flat.sum(), FLAT)


def strata(p: Tensor, n: int, draws: int, g: Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """`draws` times for each of n samples an interval of the law `p` and the place within it, in [0, 1); both `(n,)`.

    Each sample has one draw in each of `draws` strata of equal probability, and in each stratum the n samples are
    equidistant, in random order: Kingma et al. 2021 (arXiv:2107.00630), appendix I.1. A single draw has the law `p`.
    """
    ends = p.cumsum(0) / p.sum()
    offset = (torch.rand(1, generator=g, dtype=torch.float64) + torch.randperm(n, generator=g) / n) % 1
    for k in range(draws):
        u = (k + offset) / draws
        j = torch.searchsorted(ends, u, right=True).clamp(max=len(p) - 1)
        yield j, (1 - (ends[j] - u) / p[j]).clamp(0, 1)


def limited(estimate: Estimate, schedule: Schedule, x_t: Tensor, t: Tensor, limit: float | None) -> Estimate:
    """The estimate with x0 within [-limit, limit], and the noise that then explains `x_t`; as it is without a limit."""
    if limit is None:
        return estimate
    x0 = estimate.x0.clamp(-limit, limit)
    return estimate._replace(x0=x0, eps=unmix(x_t, schedule(t), x0, X0().mix(schedule, t))[1])


@torch.no_grad()
def variational_bits_per_dim(
    denoise: Denoise,
    x0: Tensor,
    seed: int = 0,
    v: float | None = 0.0,
    decoder_v: float | None = 0.0,
    levels: int | None = 256,
    limit: float | None = None,
    steps: int | None = None,
) -> VariationalBound:
    """`-log p(x0) <= L_T + sum of L_t + L_0`, at every one of the chain's steps or, unbiased, at `steps` of them.

    Ho et al. 2020 (arXiv:2006.11239), eq. 5; `v` and `decoder_v` as in `vlb_term`. `limit` keeps estimates of x0 within
    [-limit, limit], as Ho et al.'s and Nichol & Dhariwal's code do with 1. With `steps`, L_0 is evaluated and that many
    of the other terms for each sample, chosen by `strata` and weighted by their probability. Raises ValueError if `x0`
    is not on the levels.
    """
    check_levels(x0, levels)
    schedule, g = denoise.schedule, keyed(seed)

    def term(t: Tensor) -> Tensor:
        eps = torch.randn(x0.shape, generator=g).to(x0)
        x_t = schedule(t)(x0, eps)
        estimate = limited(denoise(x_t, t), schedule, x_t, t, limit)
        return vlb_term(schedule, estimate, x0, eps, t, v, decoder_v, levels)

    times = torch.arange(schedule.step, schedule.t_max + schedule.step / 2, schedule.step, dtype=torch.float64)
    prior = prior_term(schedule.log_snr(times[-1]), x0)
    reconstruction = term(times[0])
    if steps is None or steps >= len(times) - 1:
        diffusion = torch.stack([term(t) for t in times[1:]]).sum(0)
    else:
        p = intervals_law(schedule.log_snr(times))
        drawn = [scale(1 / p[j], term(times[1 + j])) for j, _ in strata(p, len(x0), steps, g)]
        diffusion = torch.stack(drawn).mean(0)
    return VariationalBound(prior + diffusion + reconstruction, prior, diffusion, reconstruction)


@torch.no_grad()
def continuous_bits_per_dim(
    denoise: Denoise,
    x0: Tensor,
    seed: int = 0,
    n: int = 16,
    levels: int | None = 256,
    decoder: Decoder = DECODER,
    limit: float | None = None,
) -> VariationalBound:
    """`-log p(x0) <= L_T + 1/2 int |eps - eps_hat|^2 dlog_snr + L_0`, in continuous time.

    Kingma et al. 2021 (arXiv:2107.00630), eqs. 11-18; for score SDEs it is the bound of the reverse SDE, of Song et al.
    2021b (arXiv:2101.09258), theorem 3, and the ELBO of Huang et al. 2021 (arXiv:2106.02808), from t_min on. The
    integral does not depend on the path between its ends, and may begin at any level: for samples on levels at the last
    that the decoder needs, DECODABLE, if the schedule reaches further (13.4 for 256 of them). It is estimated,
    unbiased, at `n` log-SNRs between those of t_min and t_max for each sample, chosen by `strata`. `limit` keeps
    estimates of x0 within [-limit, limit], a model of its own that none of the papers has. Raises ValueError on a
    table, whose chain has a bound of its own, and if `x0` is not on the levels.
    """
    check_levels(x0, levels)
    schedule, g = denoise.schedule, keyed(seed)
    if schedule.discrete:
        raise ValueError(f"{schedule} has no continuous time: take variational_bits_per_dim, or a continuous schedule")
    # Where the straight path ends log-SNR is minus infinity: a chain that begins at a faint one is as valid a model.
    axis = torch.tensor([schedule.t_min, schedule.t_max], dtype=torch.float64)
    last = math.inf if levels is None else -2 * math.log(DECODABLE * 2 / (levels - 1))
    clean, noisy = schedule.log_snr(axis).clamp(min=MIN_LOG_SNR, max=last)
    knots = torch.lerp(clean, noisy, torch.linspace(0, 1, INTERVALS + 1, dtype=torch.float64))
    p, width, errors = intervals_law(knots), (clean - noisy) / INTERVALS, []
    for j, place in strata(p, len(x0), n, g):
        t = schedule.time_at(torch.lerp(knots[j], knots[j + 1], place))
        eps = torch.randn(x0.shape, generator=g).to(x0)
        x_t = schedule(t)(x0, eps)
        error = bits((eps - limited(denoise(x_t, t), schedule, x_t, t, limit).eps) ** 2)
        errors.append(scale(0.5 * width / p[j], error))
    diffusion = torch.stack(errors).mean(0)
    eps = torch.randn(x0.shape, generator=g).to(x0)
    reconstruction = bits(decoder(x0, x0 + scale((-0.5 * clean).exp(), eps), clean, levels))
    prior = prior_term(noisy, x0)
    return VariationalBound(prior + diffusion + reconstruction, prior, diffusion, reconstruction)
