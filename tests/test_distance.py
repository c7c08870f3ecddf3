from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import poly_mmd

from difflab.metric.distance import BLOCK, frechet, kernel


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def gaussian(n, d, seed):
    """n correlated, shifted vectors."""
    g = rng(seed)
    mix = torch.randn(d, d, generator=g, dtype=torch.float64) / d**0.5
    return torch.randn(n, d, generator=g, dtype=torch.float64) @ mix + torch.randn(d, generator=g, dtype=torch.float64)


def test_frechet_of_commuting_covariances_is_the_closed_form():
    white = gaussian(200, 6, seed=0)
    white = white - white.mean(0)
    white = torch.linalg.qr(white).Q * (len(white) - 1) ** 0.5  # sample mean 0, sample covariance I
    s, t, shift = torch.linspace(0.1, 3, 6).double(), torch.linspace(2, 0, 6).double(), torch.arange(6).double()
    expected = (shift**2).sum() + ((s - t) ** 2).sum()
    assert frechet(white * s, white * t + shift) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("sizes", [(500, 500), (400, 90)])
def test_frechet_agrees_with_scipy_and_torchmetrics(sizes):
    class Flatten(nn.Module):
        num_features = 48

        def forward(self, images):
            return images.flatten(1)

    a, b = gaussian(sizes[0], 48, seed=1), gaussian(sizes[1], 48, seed=2)
    cov_a, cov_b = torch.cov(a.T), torch.cov(b.T)
    root = torch.from_numpy(sqrtm((cov_a @ cov_b).numpy()).real)
    expected = (a.mean(0) - b.mean(0)).square().sum() + (cov_a + cov_b - 2 * root).trace()
    assert frechet(a, b) == pytest.approx(float(expected), rel=1e-9)

    metric = FrechetInceptionDistance(Flatten(), normalize=True, input_img_size=(3, 4, 4))
    metric.update(a.float().view(-1, 3, 4, 4), real=True)
    metric.update(b.float().view(-1, 3, 4, 4), real=False)
    assert frechet(a, b) == pytest.approx(float(metric.compute()), rel=1e-5)


def test_frechet_is_unmoved_by_an_isometry_into_more_dimensions_than_vectors():
    a, b = gaussian(30, 5, seed=1), gaussian(20, 5, seed=2)
    wide = torch.linalg.qr(torch.randn(64, 5, generator=rng(), dtype=torch.float64)).Q.T
    assert frechet(a @ wide, b @ wide) == pytest.approx(frechet(a, b), rel=1e-10)


@pytest.mark.parametrize("n", [100, 10])
def test_frechet_is_symmetric_and_zero_on_identical_sets(n):
    a, b = gaussian(n, 32, seed=1), gaussian(n, 32, seed=2)
    assert frechet(a, b) == pytest.approx(frechet(b, a), rel=1e-12)
    assert frechet(a, a) == pytest.approx(0, abs=1e-9)


def test_kernel_is_the_double_loop_for_sets_of_unlike_size():
    a, b = gaussian(12, 5, seed=1), gaussian(9, 5, seed=2)

    def mean(pairs):
        return np.mean([(float(u @ v) / 5 + 1) ** 3 for u, v in pairs])

    def within(x):
        return mean((x[i], x[j]) for i, j in product(range(len(x)), repeat=2) if i != j)

    assert kernel(a, b) == pytest.approx(within(a) + within(b) - 2 * mean(product(a, b)), rel=1e-10)


def test_kernel_in_blocks_agrees_with_torchmetrics():
    a, b = gaussian(BLOCK + 100, 8, seed=1), gaussian(BLOCK + 100, 8, seed=2)
    assert kernel(a, b) == pytest.approx(float(poly_mmd(a, b)), rel=1e-9)


def test_kernel_is_unbiased():
    sets = torch.randn(400, 50, 6, generator=rng(), dtype=torch.float64)
    values = [kernel(x[:20], x[20:]) for x in sets]
    error = np.std(values) / len(values) ** 0.5
    own = float(((sets.square().sum(-1) / 6 + 1) ** 3).mean())  # k(x, x), which the biased one counts in
    assert abs(np.mean(values)) < 3 * error < 0.1 * own * (1 / 20 + 1 / 30)


@pytest.mark.parametrize("distance", [frechet, kernel])
@pytest.mark.parametrize("shapes", [((5, 3), (5, 4)), ((1, 3), (5, 3)), ((5,), (5,))])
def test_distances_refuse_what_has_none(distance, shapes):
    with pytest.raises(ValueError, match="features of shapes"):
        distance(*(torch.zeros(shape) for shape in shapes))
