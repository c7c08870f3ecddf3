"""Precision, recall, density and coverage."""

import math

import numpy as np
import pytest
import torch
from prdc import compute_prdc
from sklearn.neighbors import NearestNeighbors

from difflab.metric.manifold import BLOCK, comparable_manifold, manifold, squared_radii


def neighbourhoods(x, k):
    return NearestNeighbors(n_neighbors=k + 1).fit(x).kneighbors(x)[0][:, -1]


def test_equals_the_definition_by_an_independent_nearest_neighbour_search(subtests):
    for n, m, k in [(60, 90, 3), (2100, 40, 5)]:
        with subtests.test(f"{n}, {m}, k={k}"):
            rng = np.random.default_rng(0)
            a, b = rng.normal(0.3, 0.8, (n, 4)), rng.normal(0, 1, (m, 4))
            far = np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1))
            in_real, in_generated = far <= neighbourhoods(b, k), far <= neighbourhoods(a, k)[:, None]
            expected = (
                in_real.any(1).mean(),
                in_generated.any(0).mean(),
                in_real.sum(1).mean() / k,
                in_real.any(0).mean(),
            )
            assert manifold(torch.tensor(a), torch.tensor(b), k) == pytest.approx(expected, abs=1e-9)


def test_equals_the_published_implementation(subtests):
    for offset in [0, 1000]:
        with subtests.test(f"offset {offset}"):
            rng = np.random.default_rng(1)
            a, b = rng.normal(0.2, 0.9, (BLOCK + 50, 30)) + offset, rng.normal(0, 1, (700, 30)) + offset
            theirs = compute_prdc(real_features=b, fake_features=a, nearest_k=5)
            assert manifold(torch.tensor(a), torch.tensor(b))._asdict() == pytest.approx(theirs, abs=1e-9)


def test_equal_sets_are_inside_each_other_and_so_are_duplicates():
    x = 100 + torch.randn(300, 40, generator=torch.Generator().manual_seed(0))
    assert manifold(x, x.flip(0)) == pytest.approx((1, 1, 1.2, 1))
    seven = torch.cat((x[:1].expand(7, -1), x))  # balls of radius 0
    assert manifold(seven, seven).coverage == 1


def test_sets_are_compared_at_one_size():
    g = torch.Generator().manual_seed(0)
    real, shifted = torch.randn(900, 3, generator=g), 0.5 + torch.randn(300, 3, generator=g)
    found = comparable_manifold(shifted, real)
    assert found == comparable_manifold(shifted, real)
    assert tuple(found) == pytest.approx(tuple(manifold(shifted, real[-300:])), abs=0.15)  # any 300 of the real ones
    assert found.coverage > manifold(shifted, real).coverage + 0.1  # more real ones have smaller neighbourhoods
    assert all(np.isnan(comparable_manifold(shifted[:5], real)))


def test_fidelity_and_diversity_are_told_apart():
    g = torch.Generator().manual_seed(0)
    real = torch.randn(400, 2, generator=g)
    narrow = manifold(0.2 * torch.randn(400, 2, generator=g), real)
    broad = manifold(10 * torch.randn(400, 2, generator=g), real)
    assert narrow.precision > 0.9 > 0.5 > narrow.recall
    assert broad.recall > 0.9 > 0.5 > broad.precision
    assert narrow.density > 1 > 0.5 > narrow.coverage
    assert manifold(real, real) == pytest.approx((1, 1, 1.2, 1))  # each lies in its own ball too


def test_refuses_what_has_no_neighbourhood():
    with pytest.raises(ValueError, match="k=5"):
        manifold(torch.zeros(5, 2), torch.zeros(9, 2))
    with pytest.raises(ValueError, match="features"):
        manifold(torch.zeros(9, 2), torch.zeros(9, 3))
    for value in (math.nan, math.inf):
        spoilt = torch.zeros(9, 2).index_fill(0, torch.tensor([4]), value)
        for sets in ((spoilt, torch.zeros(9, 2)), (torch.zeros(9, 2), spoilt)):
            with pytest.raises(ValueError, match="1 of 9 samples have features that are not finite"):
                manifold(*sets)


def test_one_sample_far_away_changes_no_other_neighbourhood():
    near = 0.01 * torch.randn(500, 4, dtype=torch.float64)
    with_it = torch.cat((torch.full((1, 4), 3e6, dtype=torch.float64), near))
    torch.testing.assert_close(squared_radii(with_it, 5)[1:], squared_radii(near, 5), rtol=1e-9, atol=0)
