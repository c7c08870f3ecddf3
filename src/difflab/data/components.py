"""Mixtures of isotropic Gaussians in the plane as values, and curves with noise as such mixtures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]


class Components(NamedTuple):
    """A mixture of isotropic Gaussians, in float64."""

    means: Tensor  # (K, 2), or (K, *shape)
    var: Tensor  # (K,), per coordinate
    weights: Tensor  # (K,), with sum 1


def mixture(
    means: Sequence[Sequence[float]] | Array, var: Sequence[float] | Array, weights: Sequence[float] | Array
) -> Components:
    """Components from plain numbers. Raises ValueError where they make no mixture in the plane."""
    m, v, w = (torch.as_tensor(np.asarray(part, np.float64)) for part in (means, var, weights))
    if m.shape != (len(w), 2) or v.shape != w.shape or min(v.min(), w.min()) <= 0:
        raise ValueError(
            f"a mixture has K means in the plane, K variances > 0 and K weights > 0; "
            f"these are of shapes {tuple(m.shape)}, {tuple(v.shape)} and {tuple(w.shape)}, var={var}, weights={weights}"
        )
    return Components(m, v, w / w.sum())


def along(curve: Callable[[Array], Array], noise: float) -> Components:
    """The law of curve(u) + noise z, u uniform on 0..1, as the Gaussians at the nodes of a quadrature in u.

    `curve` maps (m,) to K branches (K, m, 2), equally likely. Gauss-Legendre with 12 nodes a panel of at most
    2 noise in length: the density's relative error is below 1e-10 up to 6 noise from the curve.
    Raises ValueError unless noise > 0.
    """
    if noise <= 0:
        raise ValueError("noise must be positive: a bare curve has no density")
    fine = 4096
    speed = fine * np.linalg.norm(np.diff(curve(np.linspace(0, 1, fine + 1)), axis=1), axis=-1).max()
    panels = 2 * math.ceil(speed / (4 * noise))  # even: an S is put together in the middle
    node, weight = np.polynomial.legendre.leggauss(12)
    u = (np.arange(panels)[:, None] + (node + 1) / 2).ravel() / panels
    means = curve(u)
    weights = np.tile(weight, panels * len(means))
    return mixture(means.reshape(-1, 2), np.full(len(weights), noise**2), weights)
