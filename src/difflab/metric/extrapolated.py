"""The Frechet distance without the bias that comes of generating too few samples."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from difflab.metric.distance import between, checked, moments

FEWEST = 4  # generated vectors for each of their dimensions


def frechet_and_limit(generated: Tensor, real: Tensor) -> tuple[float, float]:
    """The squared Frechet distance of n generated vectors, and its limit for n to infinity.

    The distance falls towards the limit like 1/n, so that both follow from the whole set and its two halves, whose
    distances d(n / 2) are averaged: `limit = 2 d(n) - d(n / 2)`, or what that is for odd n. Halves are drawn at random,
    the same ones every time. More and smaller parts would add bias and no certainty: the halves hold all samples.

    Shapes (n, D), (m, D). The bias of a finite m stays, and the limit may come out below 0. It is nan for n < 4 D,
    where the halves are too small for the law: at n = 4 D of Gaussians up to a tenth too much of the bias is taken off.
    Raises ValueError for sets of less than two vectors or of unlike D.
    Chong & Forsyth 2020 (arXiv:1911.07023), who fit a line through 15 sizes.
    """
    generated, real = checked(generated, real)
    target, n = moments(real), len(generated)
    whole = between(moments(generated), target)
    if n < FEWEST * generated.shape[1]:
        return whole, math.nan
    half = n // 2
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    halves = sum(between(moments(generated[part]), target) for part in (order[:half], order[-half:])) / 2
    return whole, (n * whole - half * halves) / (n - half)
