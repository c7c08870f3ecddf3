"""The noise of cells that are measured at common seeds: a variance for each cell, moderated by those of all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from difflab.report.statistics import range_of_equals

Array: TypeAlias = NDArray[np.float64]
ITERATIONS = 20  # of Newton's method, which needs 8 at most
ROUNDING = 1e-12  # a residual in units of the largest value that is 0 but for rounding
SMALLEST = 1e-4  # a cell's variance in units of the mean one: values that agree by chance are no proof of no noise


@dataclass(frozen=True)
class Noise:
    """Of each cell the variance of a value, and its degrees of freedom; both (k,)."""

    variance: Array
    freedom: Array


def noise(y: Array) -> Noise:
    """The moderated variance of each cell of `y = cell + seed + residual`, y (k, n); NaN where a value is left out.

    `v_i = sum_j r_ij^2 / sum_j (1 - h_ij)` with the residuals r and leverages h of the least-squares fit; moderated,

        s_i^2 = (d_0 s_0^2 + f_i v_i) / (d_0 + f_i),  f_i = n_i - 1,

    with `d_0 + f_i` degrees of freedom, at most those of the whole fit; NaN and 0 if that has none, and where all
    residuals are 0, as of counts that agree: the noise is then unknown. (s_0, d_0) are the scaled inverse chi-squared
    law of the cells' variances: with cells of like noise d_0 is large and the variances are pooled, with unlike ones
    each cell has its own. Of few cells d_0 is uncertain, so that it is limited to (n - 1)^2.

    Smyth 2004, doi:10.2202/1544-6115.1027, section 6.2; the limit of d_0 is ours.
    """
    seen = ~np.isnan(y)
    k, n = y.shape
    cell, seed = np.nonzero(seen)
    design = np.concatenate([np.eye(k)[cell], np.eye(n)[seed][:, 1:]], 1)
    values = y[seen]
    basis, singular, _ = np.linalg.svd(design, full_matrices=False)
    basis = basis[:, singular > 1e-9 * singular[0]]
    residual = values - basis @ (basis.T @ values)
    free = np.bincount(cell, 1 - (basis**2).sum(1), k)
    f = np.maximum(seen.sum(1) - 1.0, 0)
    own = np.bincount(cell, residual**2, k) / np.where(free > 1e-9, free, 1)
    total, known = float(len(values) - basis.shape[1]), (f > 0) & (free > 1e-9)
    if not (own[known] > (ROUNDING * np.abs(values).max()) ** 2).any():
        return Noise(np.full(k, math.nan), np.zeros(k))
    own = np.maximum(own, SMALLEST * own[known].mean())
    d_0, s_0 = prior(own[known], f[known], (n - 1) ** 2)
    f = np.where(known, f, 0)
    return Noise((d_0 * s_0 + f * own) / (d_0 + f), np.minimum(d_0 + f, total))


class Difference(NamedTuple):
    """Of one row from the first: the mean over the n columns that both have, and half of its interval."""

    mean: float
    half: float
    n: int


def against_best(y: Array, level: float) -> list[Difference]:
    """Each row of y (k, n) but the first against the first, which was chosen as the best; NaN is left out.

    The half is `q sqrt((s_i^2 + s_1^2) / m)`, or with the variance of the m differences where that is larger; q is the
    range of k equals at this level, with degrees of freedom rounded down to halves; NaN if there is less than one.
    """
    found, k = noise(y), len(y)
    differences: list[Difference] = []
    for row, variance, freedom in zip(y[1:], found.variance[1:], found.freedom[1:], strict=True):
        d = (row - y[0])[~np.isnan(row - y[0])]
        if not len(d) or min(freedom, found.freedom[0]) < 1:
            differences.append(Difference(math.nan, math.nan, len(d)))
            continue
        own = d.var(ddof=1) if len(d) > 1 else 0.0
        q = range_of_equals(k, math.floor(2 * min(freedom, found.freedom[0])) / 2, level)  # which is slow: by halves
        half = q * math.sqrt(max(variance + found.variance[0], own) / len(d))
        differences.append(Difference(float(d.mean()), half, len(d)))
    return differences


def prior(v: Array, f: Array, most: float) -> tuple[float, float]:
    """`d_0`, at most `most`, and `s_0^2` of variances v with f degrees of freedom, by the moments of their logarithms.

    Smyth 2004, section 6.2: `E log v` and `Var log v` of scaled F-distributed v. If they vary no more than chance, the
    prior is their mean.
    """
    from scipy.special import digamma, polygamma

    if len(v) < 2 or not v.all():
        return most, float(v.mean())
    e = np.log(v) - digamma(f / 2) + np.log(f / 2)
    beyond = float(e.var(ddof=1) - polygamma(1, f / 2).mean())
    if beyond <= 0:
        return most, float(v.mean())
    d_0 = 2 * inverse_trigamma(beyond)
    return min(d_0, most), float(np.exp(e.mean() + digamma(d_0 / 2) - math.log(d_0 / 2)))


def inverse_trigamma(x: float) -> float:
    """The y > 0 with `trigamma(y) = x`, by Newton's method on 1 / trigamma (Smyth 2004, appendix)."""
    from scipy.special import polygamma

    y = 0.5 + 1 / x
    for _ in range(ITERATIONS):
        trigamma = float(polygamma(1, y))
        y += trigamma * (1 - trigamma / x) / float(polygamma(2, y))
    return y
