"""Copies of training samples."""

from importlib.resources import files

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from difflab.metric.memorisation import BLOCK, NEIGHBOURS, RARE, memorisation, nearest
from helpers.images import split


@pytest.fixture(scope="module")
def fashion16():
    """Images for training, held-out ones, and 500 that are neither."""
    with np.load(files("difflab.data") / "fashion16.npz") as archive:
        x, fresh = (torch.from_numpy(archive[name])[:, None] for name in ("x", "test_x"))
    return split(x[:4000]), split(fresh[:1000]), fresh[1000:1500]


def noisy(images, std, seed=0):
    noise = std * torch.randn(images.shape, generator=torch.Generator().manual_seed(seed))
    return (images + noise).round().clamp(0, 255).to(torch.uint8)


def points(n, seed):
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))


def test_neighbours_are_those_of_an_independent_search():
    g = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (BLOCK + 3, 6), generator=g, dtype=torch.uint8)
    known = torch.randint(0, 256, (2 * BLOCK + 7, 6), generator=g, dtype=torch.uint8)
    far, index = nearest(x, known, 4)
    expected, _ = NearestNeighbors(n_neighbors=4).fit(known.double()).kneighbors(x.double())
    np.testing.assert_allclose(far, expected, rtol=1e-12)
    own = (x.double()[:, None] - known.double()[index]).norm(dim=2)  # ties may fall either way
    np.testing.assert_allclose(own, expected, rtol=1e-12)


def test_a_generator_that_copies_with_noise_is_caught_at_its_share(fashion16, cache, subtests):
    for share in [0.0, 0.3, 1.0]:
        with subtests.test(f"share {share}"):
            train, held_out, fresh = fashion16
            n = int(share * len(fresh))
            copied = torch.randperm(len(train.x), generator=torch.Generator().manual_seed(1))[:n]
            generated = torch.cat((noisy(train.x[copied], 8), fresh[n:]))
            found = memorisation(generated, train, held_out, cache)
            assert found.scores["copies"] == pytest.approx(share + RARE * (1 - share), abs=0.02)
            assert found.scores["copies_floor"] == RARE
            likest, sources = found.pairs(n)
            caught = torch.isin(likest, torch.arange(n)).double().mean() if n else 1
            assert caught > 0.95
            assert all(sources[k] == copied[i] for k, i in enumerate(likest.tolist()) if i < n)


def test_simple_samples_are_not_taken_for_copies(cache):
    g = torch.Generator().manual_seed(0)
    simple = 0.1 * torch.randn(1000, 6, generator=g)  # near each other, and a tenth of the real samples
    scale = torch.ones(3000, 1)
    scale[:300] = 0.1
    train, held_out = (split(scale * torch.randn(3000, 6, generator=g)) for _ in range(2))
    by_distance = NearestNeighbors(n_neighbors=1).fit(train.x)
    limit = np.quantile(by_distance.kneighbors(held_out.x)[0], RARE)
    assert (by_distance.kneighbors(simple)[0] <= limit).mean() > 0.05
    assert memorisation(simple, train, held_out, cache).scores["copies"] < 0.025


def test_the_gap_is_that_of_the_nearest_distances_and_none_for_a_fresh_sample(cache):
    train, held_out, fresh = split(points(600, 0)), split(points(600, 1)), points(2000, 2)
    found = memorisation(fresh, train, held_out, cache).scores["nn_gap"]
    to_train, to_held_out = (
        NearestNeighbors(n_neighbors=1).fit(known.x).kneighbors(fresh)[0].mean() for known in (train, held_out)
    )
    assert found == pytest.approx(2 * (to_train - to_held_out) / (to_train + to_held_out), rel=1e-6)
    assert abs(found) < 0.1
    near_train = train.x + 0.01 * points(600, 3)
    assert memorisation(near_train, train, held_out, cache).scores["nn_gap"] < -0.5
    assert memorisation(train.x, train, held_out, cache).scores["nn_gap"] == pytest.approx(-2, abs=1e-5)
    assert memorisation(held_out.x, train, held_out, cache).scores["nn_gap"] == pytest.approx(2, abs=1e-5)


def test_the_gap_is_taken_at_equal_sizes(cache):
    found = memorisation(points(2000, 2), split(points(5000, 0)), split(points(500, 1)), cache)
    assert abs(found.scores["nn_gap"]) < 0.1  # 5000 lie three times as near as 500


def test_points_are_caught_too(cache):
    train, held_out = split(points(3000, 0)), split(points(2000, 1))
    copied = train.x[:500] + 1e-5 * points(500, 2)
    assert memorisation(copied, train, held_out, cache).scores["copies"] > 0.95
    assert memorisation(points(3000, 3), train, held_out, cache).scores["copies"] == pytest.approx(RARE, abs=0.008)


def test_duplicates_among_the_real_samples_raise_the_floor(cache):
    train = points(400, 0)
    held_out = torch.cat((train[:30], points(270, 1)))
    found = memorisation(points(300, 2), split(train), split(held_out), cache).scores
    assert found["copies_floor"] == pytest.approx(0.1)
    many = split(train[:1].repeat(NEIGHBOURS + 5, 1))
    assert memorisation(train[:1], many, split(held_out), cache).scores["copies"] == 1


def test_exact_copies_are_copies_in_any_dimension_where_held_out_samples_are_duplicates_too(cache):
    """Distances of 0, where products of long vectors give rounding."""
    for D in (2, 64, 256):
        train, other = (torch.randn(n, D, generator=torch.Generator().manual_seed(n)) for n in (400, 270))
        held_out = torch.cat((train[:30], other))
        found = memorisation(train[100:300], split(train), split(held_out), cache).scores
        assert (found["copies"], found["copies_floor"]) == (1.0, pytest.approx(0.1)), D


def test_what_held_out_samples_say_is_computed_once(tmp_path, cache):
    train, held_out = split(points(50, 0)), split(points(40, 1))
    first = memorisation(points(30, 2), train, held_out, cache).scores
    (path,) = tmp_path.glob("copies-*.safetensors")
    stamp = path.stat().st_mtime_ns
    assert memorisation(points(30, 2), train, held_out, cache).scores == first
    assert path.stat().st_mtime_ns == stamp


def test_refuses_what_cannot_be_compared(cache):
    with pytest.raises(ValueError, match="one shape"):
        memorisation(torch.zeros(4, 3), split(points(9, 0)), split(points(9, 1)), cache)
    with pytest.raises(ValueError, match="too few"):
        memorisation(points(4, 2), split(points(9, 0)), split(points(1, 1)), cache)
