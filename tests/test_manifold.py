"""Precision, recall, density and coverage."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from difflab.metric.manifold import manifold


def neighbourhoods(x, k):
    return NearestNeighbors(n_neighbors=k + 1).fit(x).kneighbors(x)[0][:, -1]


@pytest.mark.parametrize(("n", "m", "k"), [(60, 90, 3), (2100, 40, 5)])
def test_equals_the_definition_by_an_independent_nearest_neighbour_search(n, m, k):
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.3, 0.8, (n, 4)), rng.normal(0, 1, (m, 4))
    far = np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1))
    in_real, in_generated = far <= neighbourhoods(b, k), far <= neighbourhoods(a, k)[:, None]
    expected = in_real.any(1).mean(), in_generated.any(0).mean(), in_real.sum(1).mean() / k, in_real.any(0).mean()
    assert manifold(torch.tensor(a), torch.tensor(b), k) == pytest.approx(expected, abs=1e-6)


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
