"""How a bound decodes the least noisy sample to clean data, and bits per dimension."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from difflab.process.gaussian import discretised_log_likelihood, scale


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


class Decoder(Protocol):
    """`p(x0 | z)` of the least noisy sample `z = x0 + exp(-log_snr / 2) eps`, without a network."""

    def __call__(self, x0: Tensor, z: Tensor, log_snr: Tensor, levels: int | None) -> Tensor:
        """`-log p(x0 | z)` per element in nats; for `levels=None` of the density N(z, exp(-log_snr))."""


@dataclass(frozen=True)
class FlatPrior:
    """`p(x0 | z)` proportional to `q(z | x0)` over the values that an element of x0 can have.

    That is Bayes' rule under a flat prior. Kingma et al. 2021 (arXiv:2107.00630), section 3.3.
    """

    def __call__(self, x0: Tensor, z: Tensor, log_snr: Tensor, levels: int | None) -> Tensor:
        """`-log p(x0 | z)` per element in nats."""
        log_var = scale(-log_snr, torch.ones_like(x0))
        if levels is None:
            return surprise(x0, z, log_var, None)

        def log_q(value: Tensor) -> Tensor:
            return -0.5 * (z - value) ** 2 * (-log_var).exp()

        values = torch.linspace(-1, 1, levels, dtype=torch.float64).to(x0)
        return functools.reduce(torch.logaddexp, map(log_q, values)) - log_q(x0)


@dataclass(frozen=True)
class GaussianBin:
    """The mass of N(z, exp(-log_snr)) in the bin of x0: Ho et al. 2020 (arXiv:2006.11239), eq. 13, with mean z.

    It adds the variance of z to that of the bin, and lies up to .041 bits/dim above `FlatPrior` at VDM's log-SNR 13.3.
    """

    def __call__(self, x0: Tensor, z: Tensor, log_snr: Tensor, levels: int | None) -> Tensor:
        """`-log p(x0 | z)` per element in nats."""
        return surprise(x0, z, scale(-log_snr, torch.ones_like(x0)), levels)
