"""Fidelity and diversity apart: which samples lie within reach of the others' nearest neighbours."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from difflab.metric.distance import finite, squared_distances, thinned
from difflab.metric.sample_size import EqualSets

NEIGHBOURS = 5
LARGEST = 10_000  # samples of a set that are compared: time grows with their square
EQUAL_SETS = EqualSets(LARGEST)
BLOCK = 1024  # rows of a distance matrix held at once
ROUNDING = 1e-12  # of squared distances, in squared lengths of the longest vector


class Manifold(NamedTuple):
    """Four shares; each of a perfect generator's is near that of real samples against real ones, which is not 1."""

    precision: float  # of the generated samples that lie in a real neighbourhood
    recall: float  # of the real samples that lie in a generated neighbourhood
    density: float  # real neighbourhoods that a generated sample lies in, over k: may exceed 1
    coverage: float  # of the real neighbourhoods that hold a generated sample


def comparable_manifold(generated: Tensor, real: Tensor) -> Manifold:
    """The four shares of equally many features of each set, for 5 neighbours; nan if that is no more than 5.

    As many as the smaller set has, 10,000 at most; of a larger one they are drawn, the same ones every time.
    """
    n = min(len(generated), len(real), LARGEST)
    if n <= NEIGHBOURS:
        return Manifold(math.nan, math.nan, math.nan, math.nan)
    return manifold(thinned(generated, n), thinned(real, n))


def manifold(generated: Tensor, real: Tensor, k: int = NEIGHBOURS) -> Manifold:
    """Precision, recall, density and coverage of features (n, D) against (m, D).

    A sample's neighbourhood is the ball to its k-th nearest other sample of its set. Kynkaanniemi et al. 2019
    (arXiv:1904.06991), eq. 2; Naeem et al. 2020 (arXiv:2002.09797), eqs. 3 and 4. Values depend on n, m and k.
    Raises ValueError for sets of no more than k samples, or of unlike D, and for features that are not finite.
    """
    if generated.ndim != 2 or real.ndim != 2 or generated.shape[1] != real.shape[1]:
        raise ValueError(
            f"neighbourhoods are of features (n, D) and (m, D), not {tuple(generated.shape)}, {tuple(real.shape)}"
        )
    if min(len(generated), len(real)) <= k or k < 1:
        raise ValueError(f"k={k} neighbours ask for more than k >= 1 samples: {len(generated)} and {len(real)} given")
    origin = finite(real).double().mean(0)  # products of short vectors round less
    generated, real = finite(generated).double() - origin, real.double() - origin
    reach, real_reach = squared_radii(generated, k), squared_radii(real, k)
    balls = torch.zeros(len(generated), dtype=torch.float64)  # real ones around each generated sample
    covered, recalled = torch.zeros(len(real), dtype=torch.bool), torch.zeros(len(real), dtype=torch.bool)
    blocks = (torch.split(each, BLOCK) for each in (generated, reach, balls))
    for rows, own, counted in zip(*blocks, strict=True):
        far = squared_distances(rows, real)
        within = far <= real_reach
        counted += within.sum(1)
        covered |= within.any(0)
        recalled |= (far <= own[:, None]).any(0)
    shares = (balls > 0, recalled, balls / k, covered)
    return Manifold(*(share.double().mean().item() for share in shares))


def squared_radii(x: Tensor, k: int) -> Tensor:
    """The squared distance of each row of (n, D) to its k-th nearest other row, rounded up: shape (n,).

    Up, because a ball holds the sample that it reaches to.
    """
    nearest = [squared_distances(rows, x).topk(k + 1, largest=False) for rows in torch.split(x, BLOCK)]
    radii = torch.cat([found.values[:, -1] for found in nearest])
    return radii + ROUNDING * (radii + x.square().sum(1))
