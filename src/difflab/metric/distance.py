"""Distances between two sets of feature vectors, in float64 and without estimates by random subsets.

torchmetrics serves the tests as an oracle only: its Frechet formula is private behind a metric that returns float32 and
loses symmetry where n < D, and its kernel distance averages random subsets of equal size.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations, product

import torch
from torch import Tensor

BLOCK = 2048  # rows of a kernel matrix held at once


def frechet(a: Tensor, b: Tensor) -> float:
    """Squared Frechet distance of the Gaussians with the sets' means and covariances, right for n < D too.

    |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)); with centred A, B such that C = A^T A, the last trace is the sum
    of the singular values of A B^T.

    Shapes (n, D), (m, D); in squared units of the features; biased upwards, by about the floor at the same n and m.
    Raises ValueError for sets of less than two vectors or of unlike D.
    Dowson & Landau 1982, doi:10.1016/0047-259X(82)90077-X; Heusel et al. 2017 (arXiv:1706.08500), eq. 6.
    """
    a, b = _checked(a, b)
    shift = (a.mean(0) - b.mean(0)).square().sum()
    a, b = _root(a), _root(b)
    overlap = torch.linalg.svdvals(a @ b.T).sum()
    distance = float(shift + a.square().sum() + b.square().sum() - 2 * overlap)
    return max(0.0, distance)  # equal sets may round to -1e-14


def kernel(a: Tensor, b: Tensor) -> float:
    """Unbiased squared maximum mean discrepancy under the kernel (x . y / D + 1)^3, over all pairs of vectors.

    mean_(i != j) k(a_i, a_j) + mean_(i != j) k(b_i, b_j) - 2 mean_(i, j) k(a_i, b_j); the value itself, not times 1000.

    Shapes (n, D), (m, D); its mean over samples of one distribution is 0, so that it may be negative.
    Raises ValueError for sets of less than two vectors or of unlike D.
    Binkowski et al. 2018 (arXiv:1801.01401), section 4.
    """
    a, b = _checked(a, b)
    across = _sum(product(torch.split(a, BLOCK), torch.split(b, BLOCK))) / (len(a) * len(b))
    return _within(a) + _within(b) - 2 * across


def _checked(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(
            f"a distance takes features of shapes (n, D) and (m, D) with n, m >= 2; "
            f"these are {tuple(a.shape)} and {tuple(b.shape)}"
        )
    return a.double(), b.double()


def _root(x: Tensor) -> Tensor:
    """Some R of at most D rows with R^T R the covariance of x."""
    x = (x - x.mean(0)) / (len(x) - 1) ** 0.5
    return torch.linalg.qr(x, mode="r").R if len(x) > x.shape[1] else x


def _cubic(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b.T / a.shape[1] + 1) ** 3


def _sum(pairs: Iterable[tuple[Tensor, Tensor]]) -> float:
    return sum(float(_cubic(a, b).sum()) for a, b in pairs)


def _within(x: Tensor) -> float:
    """Mean of the kernel over pairs of different vectors."""
    blocks = torch.split(x, BLOCK)
    diagonal = float(((x.square().sum(1) / x.shape[1] + 1) ** 3).sum())
    total = _sum(zip(blocks, blocks, strict=True)) + 2 * _sum(combinations(blocks, 2))
    return (total - diagonal) / (len(x) * (len(x) - 1))
