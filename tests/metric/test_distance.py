from __future__ import annotations

import math
from itertools import permutations, product

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist
from scipy.stats import energy_distance, wasserstein_distance
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import poly_mmd

from difflab.metric.distance import BLOCK, energy, frechet, kernel, squared_distances, wasserstein


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


def test_frechet_agrees_with_scipy_and_torchmetrics(subtests):
    for sizes in [(500, 500), (400, 90)]:
        with subtests.test(f"{sizes} vectors"):

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


def test_frechet_is_symmetric_and_zero_on_identical_sets(subtests):
    for n in [100, 10]:
        with subtests.test(f"{n} vectors"):
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


def test_energy_is_the_double_loop_for_sets_of_unlike_size():
    a, b = gaussian(12, 5, seed=1).numpy(), gaussian(9, 5, seed=2).numpy()

    def within(x):
        return cdist(x, x)[~np.eye(len(x), dtype=bool)].mean()

    expected = 2 * cdist(a, b).mean() - within(a) - within(b)
    assert energy(torch.from_numpy(a), torch.from_numpy(b)) == pytest.approx(expected, rel=1e-10)


def test_energy_on_a_line_in_blocks_is_that_of_scipy():
    a, b = gaussian(BLOCK + 100, 1, seed=1), gaussian(BLOCK + 100, 1, seed=2)
    biased = energy_distance(a[:, 0], b[:, 0]) ** 2  # counts the pairs i = j
    n = len(a)
    own = float(torch.cdist(a, a).sum() + torch.cdist(b, b).sum())
    assert energy(a, b) == pytest.approx(biased - own * (1 / (n * (n - 1)) - 1 / n**2), rel=1e-9)


def test_energy_is_unbiased():
    sets = torch.randn(400, 50, 2, generator=rng(), dtype=torch.float64)
    values = [energy(x[:20], x[20:]) for x in sets]
    error = np.std(values) / len(values) ** 0.5
    own = np.pi**0.5  # E|x - y|, which the biased one has too little of
    assert abs(np.mean(values)) < 3 * error < 0.1 * own * (1 / 20 + 1 / 30)


def test_wasserstein_of_a_translate_is_the_length_of_the_translation():
    a, shift = gaussian(300, 3, seed=1), torch.tensor([3.0, -4.0, 12.0], dtype=torch.float64)
    assert wasserstein(a, a + shift) == pytest.approx(13, rel=1e-12)
    assert wasserstein(a, (a + shift).flip(0)) == pytest.approx(13, rel=1e-12)
    assert wasserstein(a, a.flip(0)) == pytest.approx(0, abs=1e-12)


def test_wasserstein_is_the_best_of_all_permutations():
    a, b = gaussian(6, 3, seed=1), gaussian(6, 3, seed=2)
    best = min(float((a - b[list(p)]).square().sum(1).mean()) for p in permutations(range(6)))
    assert wasserstein(a, b) == pytest.approx(best**0.5, rel=1e-12)


def test_wasserstein_on_a_line_pairs_by_rank():
    a, b = gaussian(200, 1, seed=1), gaussian(200, 1, seed=2)
    ranked = (a.sort(0).values - b.sort(0).values).square().mean().sqrt()
    assert wasserstein(a, b) == pytest.approx(float(ranked), rel=1e-12)
    assert wasserstein(a, b) >= wasserstein_distance(a[:, 0], b[:, 0])  # W1


def test_wasserstein_of_gaussians_is_near_the_closed_form():
    s, t, shift = torch.tensor([1.0, 0.3]).double(), torch.tensor([0.5, 0.8]).double(), torch.tensor([2.0, 1]).double()
    a, b = torch.randn(2, 500, 2, generator=rng(), dtype=torch.float64)
    expected = float(((s - t) ** 2).sum() + (shift**2).sum()) ** 0.5
    assert wasserstein(a * s, b * t + shift) == pytest.approx(expected, rel=0.05)


def test_wasserstein_thins_the_larger_set_without_replacement_and_always_alike():
    a, b = gaussian(200, 2, seed=1), gaussian(90, 2, seed=2)
    assert wasserstein(b, a) == pytest.approx(wasserstein(a, b), rel=1e-12)
    powers = 2.0 ** torch.arange(24).double()[:, None]  # the sum of squares tells which were chosen
    total = round(12 * wasserstein(powers, torch.zeros(12, 1)) ** 2)
    assert total.bit_count() == 12
    assert total == round(12 * wasserstein(powers, torch.zeros(12, 1)) ** 2)


def test_squared_distances_by_products_are_those_of_scipy():
    a, b = gaussian(60, 40, seed=1), gaussian(50, 40, seed=2)
    np.testing.assert_allclose(squared_distances(a, b), cdist(a, b, "sqeuclidean"), rtol=1e-12)
    levels = torch.randint(0, 256, (2, 30, 3072), generator=rng()).double()
    assert np.array_equal(squared_distances(*levels), cdist(*levels, "sqeuclidean"))  # of bytes, exactly
    assert squared_distances(levels[0], levels[0]).diagonal().count_nonzero() == 0


def test_distances_in_the_plane_are_metrics_of_shape(subtests):
    for distance in [energy, wasserstein]:
        with subtests.test(distance.__name__):
            a, b = gaussian(150, 2, seed=1), gaussian(150, 2, seed=2)
            turn = torch.linalg.qr(torch.randn(2, 2, generator=rng(), dtype=torch.float64)).Q
            assert distance(a, b) == pytest.approx(distance(b, a), rel=1e-10)
            assert distance(a @ turn + 5, b @ turn + 5) == pytest.approx(distance(a, b), rel=1e-10)
            assert distance(3 * a, 3 * b) == pytest.approx(3 * distance(a, b), rel=1e-10)


@pytest.mark.parametrize("distance", [frechet, kernel, energy, wasserstein])
@pytest.mark.parametrize("shapes", [((5, 3), (5, 4)), ((1, 3), (5, 3)), ((5,), (5,))])
def test_distances_refuse_what_has_none(distance, shapes):
    with pytest.raises(ValueError, match="features of shapes"):
        distance(*(torch.zeros(shape) for shape in shapes))


@pytest.mark.parametrize("distance", [frechet, kernel, energy, wasserstein])
def test_distances_refuse_features_that_are_not_finite(distance):
    spoilt = torch.zeros(5, 3)
    spoilt[1, 2] = math.nan
    for sets in ((spoilt, torch.zeros(5, 3)), (torch.zeros(5, 3), spoilt)):
        with pytest.raises(ValueError, match="1 of 5 samples have features that are not finite"):
            distance(*sets)
