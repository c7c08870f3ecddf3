"""Linear mixes of clean sample and noise, their 2x2 solve, and the Gaussian posterior between two noise levels.

Notation: `x_t = alpha_t x0 + sigma_t eps` with `eps ~ N(0, I)`; `s < t` is the less noisy time; log-SNR is
`log(alpha^2 / sigma^2)`. Coefficients are of shape `()` or `(B,)`, samples `(B, *)`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Mix(NamedTuple):
    """The linear combination `alpha * x0 + sigma * eps`."""

    alpha: Tensor
    sigma: Tensor

    def __call__(self, x0: Tensor, eps: Tensor) -> Tensor:
        """Mix two samples of shape `(B, *)`."""
        return scale(self.alpha, x0) + scale(self.sigma, eps)

    @property
    def log_snr(self) -> Tensor:
        """`log(alpha^2 / sigma^2)`: infinite for clean data, minus infinity for pure noise."""
        return 2 * (self.alpha.log() - self.sigma.log())


def scale(a: Tensor, x: Tensor) -> Tensor:
    """`a * x` for coefficients `a` of shape `()` or `(B,)` and samples `x` of shape `(B, *)`, in the samples' type.

    Coefficients are kept in float64 on the CPU; here, and nowhere else, they meet the samples. One of shape `()` takes
    no copy to the samples' device, and does not change their type.
    """
    return a.to(x).reshape(a.shape + (1,) * (x.ndim - a.ndim)) * x if a.ndim else a * x


def det(m: Mix, n: Mix) -> Tensor:
    """The determinant `m.alpha n.sigma - m.sigma n.alpha`: zero where `m` and `n` say the same."""
    return m.alpha * n.sigma - m.sigma * n.alpha


def inverse(m: Mix, n: Mix) -> tuple[Mix, Mix]:
    """`x0` and `eps` as mixes of `x = m(x0, eps)` and `y = n(x0, eps)`, by Cramer's rule."""
    d = det(m, n)
    return Mix(n.sigma / d, -m.sigma / d), Mix(-n.alpha / d, m.alpha / d)


def unmix(x: Tensor, m: Mix, y: Tensor, n: Mix) -> tuple[Tensor, Tensor]:
    """The `(x0, eps)` with `m(x0, eps) = x` and `n(x0, eps) = y`."""
    x0, eps = inverse(m, n)
    return x0(x, y), eps(x, y)


def transition(s: Mix, t: Mix) -> tuple[Tensor, Tensor]:
    """The factor and the variance of the forward step `q(x_t | x_s) = N(a x_s, v)`, for `s < t`.

    `a = alpha_t / alpha_s`, `v = sigma_t^2 - a^2 sigma_s^2`: beta_t in Ho et al. 2020 (arXiv:2006.11239), eq. 2.
    """
    return t.alpha / s.alpha, -torch.expm1(t.log_snr - s.log_snr) * t.sigma**2  # without cancellation


class Bridge(NamedTuple):
    """The posterior q(x_s | x_t, x0): its mean as a mix of `(x0, eps)`, and two variances that enclose q(x_s | x_t)."""

    mean: Mix
    lower: Tensor
    upper: Tensor

    def log_variance(self, v: Tensor) -> Tensor:
        """`v log upper + (1 - v) log lower`, with `v` in [0, 1]. Nichol & Dhariwal 2021 (arXiv:2102.09672), eq. 15."""
        return scale(self.upper.log(), v) + scale(self.lower.log(), 1 - v)


def bridge(s: Mix, t: Mix) -> Bridge:
    """The posterior q(x_s | x_t, x0) for any two levels of any schedule.

    With `eps = (x_t - alpha_t x0) / sigma_t`::

        lower = sigma_s^2 (1 - snr_t / snr_s)                   Var q(x_s | x_t, x0): exact if x0 is one point
        mean  = alpha_s x0 + sqrt(sigma_s^2 - lower) eps
        upper = lower (sigma_t^2 / sigma_s^2) (alpha_s^2 + sigma_s^2) / (alpha_t^2 + sigma_t^2)
                                                                Var q(x_s | x_t) if x0 ~ N(0, I): beta_t when
                                                                variance is preserved
    Ho et al. 2020 (arXiv:2006.11239), eqs. 6-7 and section 3.2, in the form of Song, Meng & Ermon 2021
    (arXiv:2010.02502), eq. 12 with eta = 1.
    """
    lost = -torch.expm1(t.log_snr - s.log_snr)  # 1 - snr_t / snr_s, without cancellation
    lower = s.sigma**2 * lost
    upper = t.sigma**2 * lost * (s.alpha**2 + s.sigma**2) / (t.alpha**2 + t.sigma**2)
    return Bridge(Mix(s.alpha, s.sigma * (1 - lost).sqrt()), lower, upper)


def kl(mean_q: Tensor, log_var_q: Tensor, mean_p: Tensor, log_var_p: Tensor) -> Tensor:
    """`KL(N(mean_q, var_q) || N(mean_p, var_p))` per element, in nats."""
    spread = log_var_q - log_var_p
    return 0.5 * (spread.exp() - spread - 1 + (mean_q - mean_p) ** 2 * (-log_var_p).exp())


def discretised_log_likelihood(x: Tensor, mean: Tensor, log_var: Tensor, levels: int = 256) -> Tensor:
    """`log P(x)` per element in nats: the mass that N(mean, var) gives to the bin of `x`.

    `x` lies on the `levels` equidistant values of [-1, 1]; the two outermost bins reach to infinity.
    Ho et al. 2020 (arXiv:2006.11239), eq. 13.
    """
    half_bin = 1 / (levels - 1)
    std = (0.5 * log_var).exp()
    above = torch.where(x > 1 - half_bin, math.inf, (x + half_bin - mean) / std)
    below = torch.where(x < -1 + half_bin, -math.inf, (x - half_bin - mean) / std)
    # In the upper tail both masses round to 1: there the mirrored bin has the same mass and keeps its digits.
    mirrored = below > 0
    above, below = torch.where(mirrored, -below, above), torch.where(mirrored, -above, below)
    log_above: Tensor = torch.special.log_ndtr(above)
    ratio = (torch.special.log_ndtr(below) - log_above).exp()
    return log_above + torch.log1p(-ratio.clamp(max=1 - torch.finfo(x.dtype).eps))
