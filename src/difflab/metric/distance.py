"""Distances between two sets of feature vectors, in float64; all but `wasserstein` of whole sets of any sizes.

torchmetrics' own are not used: its Frechet formula is private behind a metric that returns float32 and loses symmetry
where n < D, and its kernel distance averages random subsets of equal size.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, product

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from difflab.metric.moments import Moments, moments

BLOCK = 2048  # rows of a kernel matrix held at once


def frechet(a: Tensor, b: Tensor) -> float:
    """Squared Frechet distance of the Gaussians with the sets' means and covariances, right for n < D too.

    |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)); with centred A, B such that C = A^T A, the last trace is the sum
    of the singular values of A B^T.

    Shapes (n, D), (m, D); in squared units of the features; biased upwards, by about the floor at the same n and m.
    Raises ValueError for sets of less than two vectors or of unlike D.
    Dowson & Landau 1982, doi:10.1016/0047-259X(82)90077-X; Heusel et al. 2017 (arXiv:1706.08500), eq. 6.
    """
    a, b = checked(a, b)
    return between(moments(a), moments(b))


def between(p: Moments, q: Moments) -> float:
    """Squared Frechet distance of the Gaussians with these moments."""
    shift = (p.mean - q.mean).square().sum()
    overlap = torch.linalg.svdvals(p.root @ q.root.T).sum()
    distance = float(shift + p.root.square().sum() + q.root.square().sum() - 2 * overlap)
    return max(0.0, distance)  # equal sets may round to -1e-14


def kernel(a: Tensor, b: Tensor, within_b: float | None = None) -> float:
    """Unbiased squared maximum mean discrepancy under the kernel (x . y / D + 1)^3, over all pairs of vectors.

    mean_(i != j) k(a_i, a_j) + mean_(i != j) k(b_i, b_j) - 2 mean_(i, j) k(a_i, b_j); the value itself, not times 1000.

    Shapes (n, D), (m, D); its mean over samples of one distribution is 0, so that it may be negative. `within_b` is
    the term of b alone, where it is known: see `kernel_within`.
    Raises ValueError for sets of less than two vectors or of unlike D.
    Binkowski et al. 2018 (arXiv:1801.01401), section 4.
    """
    return _discrepancy(_cubic, *checked(a, b), within_b)


def kernel_within(x: Tensor) -> float:
    """The mean of `kernel`'s over pairs of different vectors of one set."""
    return _within(_cubic, x.double())


def energy(a: Tensor, b: Tensor) -> float:
    """Unbiased energy distance, over all pairs of vectors: 0 in the mean exactly where the distributions are equal.

    2 mean_(i, j) |a_i - b_j| - mean_(i != j) |a_i - a_j| - mean_(i != j) |b_i - b_j|; no root is taken.

    Shapes (n, D), (m, D); in units of the features; as it is unbiased, it may be negative.
    Raises ValueError for sets of less than two vectors or of unlike D.
    Szekely & Rizzo 2013, doi:10.1016/j.jspi.2013.03.018, eq. 1.
    """
    return _discrepancy(_nearness, *checked(a, b))


def wasserstein(a: Tensor, b: Tensor) -> float:
    """Wasserstein-2 distance of two sets of one size, by exact assignment; the root is taken.

    W2^2 = min over permutations p of mean_i |a_i - b_p(i)|^2 = |m_a - m_b|^2 + W2^2 of the sets moved to mean 0, which
    are the ones assigned: far sets would take many times as long.

    Shapes (n, D), (m, D); in units of the features; n^2 memory, n^3 time. Of the larger set as many vectors as the
    smaller one has are drawn, without replacement and the same ones every time. Between two samples of one
    distribution it is far from 0, so read it beside its floor.
    Raises ValueError for sets of less than two vectors or of unlike D.
    """
    a, b = checked(a, b)
    n = min(len(a), len(b))
    a, b = thinned(a, n), thinned(b, n)
    shift = (a.mean(0) - b.mean(0)).square().sum()
    cost = distances(a - a.mean(0), b - b.mean(0)).square().detach()
    return float((shift + cost[linear_sum_assignment(cost)].mean()).sqrt())


def checked(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float64. Raises ValueError for sets between which there is no distance."""
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(
            f"a distance takes features of shapes (n, D) and (m, D) with n, m >= 2; "
            f"these are {tuple(a.shape)} and {tuple(b.shape)}"
        )
    return finite(a).double(), finite(b).double()


def finite(features: Tensor) -> Tensor:
    """The features. Raises ValueError unless all are finite: others have no distances."""
    if not features.isfinite().all():
        wrong = int((~features.isfinite()).any(1).sum())
        raise ValueError(f"{wrong} of {len(features)} samples have features that are not finite, and no distances")
    return features


def _cubic(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b.T / a.shape[1] + 1) ** 3


def _nearness(a: Tensor, b: Tensor) -> Tensor:
    """The kernel whose mean discrepancy is the energy distance. Sejdinovic et al. 2013 (arXiv:1207.6076)."""
    return -distances(a, b)


def distances(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean ones of the rows of (n, D) to those of (m, D): (n, m)."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")  # by products it loses half the digits


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """The squares of `distances` by products: much faster, right to some 1e-15 of the vectors' squared lengths."""
    squares = torch.addmm(b.square().sum(1), a, b.T, alpha=-2).add_(a.square().sum(1)[:, None])
    return squares.clamp_min_(0)


def thinned(x: Tensor, n: int) -> Tensor:
    """All of x, or n fixed ones at random: a set may be sorted by class."""
    return x if n >= len(x) else x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:n]]


Kernel = Callable[[Tensor, Tensor], Tensor]


def _discrepancy(k: Kernel, a: Tensor, b: Tensor, within_b: float | None = None) -> float:
    """Unbiased squared maximum mean discrepancy."""
    across = sum(float(k(u, v).sum()) for u, v in product(torch.split(a, BLOCK), torch.split(b, BLOCK)))
    return _within(k, a) + (_within(k, b) if within_b is None else within_b) - 2 * across / (len(a) * len(b))


def _within(k: Kernel, x: Tensor) -> float:
    """Mean of the kernel over pairs of different vectors."""
    blocks = torch.split(x, BLOCK)
    own = sum(float(matrix.sum() - matrix.trace()) for matrix in (k(block, block) for block in blocks))
    others = 2 * sum(float(k(u, v).sum()) for u, v in combinations(blocks, 2))
    return (own + others) / (len(x) * (len(x) - 1))
