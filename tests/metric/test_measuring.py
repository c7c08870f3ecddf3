"""Measuring samples against real ones: scores, their floors, and what is kept of the real samples."""

from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from difflab.experiment.store.tensor_cache import TensorCache
from difflab.metric.cache import uncached
from difflab.metric.distance import energy, frechet
from difflab.metric.extrapolated import frechet_and_limit
from difflab.metric.features import Score
from difflab.metric.points import Points
from difflab.metric.reference import floor, measure, real_features, remarks
from difflab.metric.sample_size import AsMany, Counts, EqualSets, InverseBias, Unbiased
from helpers.images import random_images, split


@pytest.fixture(scope="module")
def fashion16():
    with np.load(files("difflab.data") / "fashion16.npz") as archive:
        return split(torch.from_numpy(archive["x"])[:, None]), split(torch.from_numpy(archive["test_x"])[:300, None])


def test_cached_features_are_the_fresh_ones(lite0, tmp_path, cache):
    real = split(random_images(5))
    fresh = real_features(lite0, real, 5, cache)
    (path,) = tmp_path.glob("*.safetensors")
    for features in (lite0(real.x), load_file(path), real_features(lite0, real, 5, cache)):
        assert all(torch.equal(features[layer], fresh[layer]) for layer in fresh)

    save_file({"pool": torch.zeros(5, 2)}, path)
    assert torch.equal(real_features(lite0, real, 5, cache)["pool"], torch.zeros(5, 2))  # the file is what is read


def test_a_damaged_cache_is_replaced(lite0, tmp_path, cache):
    real = split(random_images(5))
    fresh = real_features(lite0, real, 5, cache)
    (path,) = tmp_path.glob("*.safetensors")
    for damaged in (path.read_bytes()[:-100], b"", b"no tensors"):
        path.write_bytes(damaged)
        assert torch.equal(real_features(lite0, real, 5, cache)["pool"], fresh["pool"])


def test_what_an_extension_computes_is_computed_again_when_its_source_changes(lite0, tmp_path):
    real = split(random_images(5))
    for sources in ({}, {"mypkg": "0"}, {"mypkg": "1"}, {"mypkg": "1"}):
        real_features(lite0, real, 5, TensorCache(tmp_path, sources))
    assert len([*tmp_path.glob("*.safetensors")]) == 3


def test_the_cache_tells_data_and_counts_apart(lite0, cache):
    real, other = split(random_images(5, seed=0)), split(random_images(5, seed=1))
    few, all_, others = (real_features(lite0, s, n, cache)["pool"] for s, n in ((real, 3), (real, 5), (other, 5)))
    assert len(few) == 3
    assert not torch.equal(all_, others)
    assert all(any(torch.equal(row, own) for own in all_) for row in few)


@pytest.mark.long
def test_noise_is_far_from_the_floor_and_real_images_are_near_it(lite0, fashion16, cache):
    train, test = fashion16
    noise = measure(lite0, random_images(150, channels=1, size=16), test, train, cache)
    real = measure(lite0, train.x[3000:3150], test, train, cache)
    assert (noise["n"], noise["n_reference"], noise["n_floor"]) == (150, 300, 150)
    assert noise["fd_lite0"] > 20 * noise["fd_lite0_floor"]
    assert noise["kid_lite0"] > 20 * abs(noise["kid_lite0_floor"])
    assert real["fd_lite0_floor"] == noise["fd_lite0_floor"]
    assert real["fd_lite0"] == pytest.approx(real["fd_lite0_floor"], rel=0.3)
    assert abs(real["kid_lite0"]) < 0.05 * noise["kid_lite0"]


def test_points_of_the_same_law_are_near_the_floor_and_others_are_not(cache):
    generator = torch.Generator().manual_seed(0)
    test, train, same = (split(torch.randn(400, 2, generator=generator)) for _ in range(3))
    real, far = (measure(Points(), x, test, train, cache) for x in (same.x, same.x + torch.tensor([3.0, 4.0])))
    assert real["w2"] == pytest.approx(real["w2_floor"], rel=0.5)
    assert abs(real["energy"]) < 0.02
    assert far["w2"] == pytest.approx(5, rel=0.05)
    assert far["w2_floor"] == real["w2_floor"]
    assert far["energy"] > 1
    closed = measure(Points(), test.x, test, train, cache)
    assert closed["w2"] == pytest.approx(0, abs=1e-9)


def test_a_floor_is_of_as_many_samples_or_extrapolated_or_absent(lite0, cache):
    values = measure(lite0, random_images(6), split(random_images(4)), split(random_images(3)), cache)
    assert (values["n"], values["n_reference"], values["n_floor"], values["n_floor_from"]) == (6, 4, 6, 3)
    floors = {key for key in values if key.endswith("_floor")}
    assert floors == {"n_floor", "kid_lite0_floor"}  # unbiased; 3 are too few for the law 1/n


def expected_frechet(scales, n, m):
    """Of samples of n and m of a Gaussian with these standard deviations, to first order in 1/n and 1/m.

    `tr C + 1/2 sum_ij l_i l_j (1 + [i = j]) / (l_i + l_j)`, times 1/n + 1/m: the mean's part and that of the Bures
    metric at C for a Wishart matrix.
    """
    var = scales.square()
    pairs = var[:, None] * var / (var[:, None] + var)
    return float(var.sum() + (pairs.sum() + pairs.trace()) / 2) * (1 / n + 1 / m)


def test_the_floor_at_n_is_what_n_samples_would_get():
    """From 500 of the 25,000 samples; before, it was that of 500, and four times too high."""
    scales, few, n, m = torch.linspace(0.5, 2, 6), 500, 25_000, 2000
    floors, before = [], []
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        reference, other = (split(scales * torch.randn(size, 6, generator=generator)) for size in (m, few))
        floors.append(floor(Pixels(InverseBias()), reference, other, n, uncached)["fd"])
        before.append(frechet(other.x, reference.x))
    truth, error = expected_frechet(scales, n, m), np.std(floors) / len(floors) ** 0.5
    assert abs(np.mean(floors) - truth) < 3 * error < 0.15 * truth
    assert np.mean(before) > 3 * truth
    assert np.mean(before) == pytest.approx(expected_frechet(scales, few, m), rel=0.05)


def test_no_floor_comes_from_fewer_samples_without_a_law():
    real, other = torch.randn(2, 50, 3, generator=torch.Generator().manual_seed(0))
    for size, n, known in (
        (AsMany(), 50, True),
        (AsMany(), 51, False),
        (EqualSets(), 5000, True),  # 50 of each are compared
        (EqualSets(20), 5000, True),
        (Unbiased(), 5000, True),
        (InverseBias(), 50, True),
        (InverseBias(), 5000, True),
    ):
        found = floor(Pixels(size), split(real), split(other), n, uncached)
        assert ("fd" in found) == known, (size, n)
        assert any("no floor" in line for line in size.remarks(Counts(n, 50, 50, 3))) != known, (size, n)
    assert "fd" not in floor(Pixels(InverseBias()), split(real), split(other[:11]), 12, uncached)
    assert "fd" not in floor(Pixels(EqualSets()), split(real), split(other[:11]), 12, uncached)


def test_remarks_name_what_is_too_small(lite0):
    found = remarks(lite0, random_images(1), 50, 2000, 2000)
    width = lite0(random_images(1))["block10"].shape[1]
    assert f"50 generated samples for {width} features: their covariance is singular" in found["fd_lite0"]
    assert found["kid_lite0"] == ["only 50 generated samples"]
    assert remarks(lite0, random_images(1), 2000, 7, 2000)["kid_lite0"] == ["only 7 reference samples"]
    assert remarks(lite0, random_images(1), 2000, 2000, 2000) == {}
    far = remarks(lite0, random_images(1), 25_000, 2000, 1000, "_vs_train")
    assert far["fd_lite0_vs_train"] == ["floor extrapolated to n=25000 from 1000 real samples"]
    assert far["recall_lite0_vs_train"][0] == "2000 samples of each set are compared"
    assert "which has 1000" in far["recall_lite0_vs_train"][1]


def test_images_of_another_shape_are_not_measured(lite0, cache):
    real = split(random_images(4))
    with pytest.raises(ValueError, match="cannot be measured"):
        measure(lite0, random_images(4, channels=1), real, real, cache)


class Pixels:
    """Images as they are, and how many were asked for."""

    name, sha256, resize = "pixels", "none", "none"

    def __init__(self, size=InverseBias()):  # noqa: B008
        self.seen = 0
        self.scores = (
            Score("pixel", ("fd", "fd_inf"), frechet_and_limit, size=size),
            Score.single("pixel", "energy", energy, Unbiased()),
        )

    def __call__(self, images):
        self.seen += len(images)
        return {"pixel": images.flatten(1).float()}


def test_one_pass_of_features_gives_every_score_against_both_splits(cache):
    generator = torch.Generator().manual_seed(0)
    fake, test, train = (torch.randn(n, 2, generator=generator) for n in (40, 30, 50))
    pixels = Pixels()
    values = measure(pixels, fake, split(test), split(train), cache, also="train")
    plain = {"fd": frechet, "energy": energy}
    for key, distance in plain.items():
        assert values[key] == distance(fake, test)
        assert values[f"{key}_vs_train"] == distance(fake, train)
        assert values[f"{key}_floor"] == pytest.approx(distance(train, test), rel=0.9)  # 40 of the 50
    assert values["energy_vs_train_floor"] == energy(test, train)
    whole, limit = frechet_and_limit(test, train)
    assert values["fd_vs_train_floor"] == pytest.approx(whole * (1 / 40 + 1 / 50) / (1 / 30 + 1 / 50), rel=1e-12)
    assert values["fd_inf_vs_train_floor"] == limit
    counts = {key: value for key, value in values.items() if key.startswith("n")}
    main = {"n_reference": 30, "n_floor": 40, "n_floor_from": 40}
    also = {"n_reference": 50, "n_floor": 40, "n_floor_from": 30}
    assert counts == {"n": 40, **main, **{f"{key}_vs_train": value for key, value in also.items()}}
    alone = measure(Pixels(), fake, split(train), split(test), cache)
    assert {f"{key}_vs_train" for key in alone if not key.startswith("n") and not key.endswith("floor")} < set(values)
    assert alone["fd"] == values["fd_vs_train"]
    assert pixels.seen == 40 + 30 + 40 + 50 + 30 - 30  # of the 30, one time


def test_a_second_measurement_sees_the_generated_samples_alone(tmp_path, cache):
    generator = torch.Generator().manual_seed(0)
    fake, test, train = (torch.randn(n, 2, generator=generator) for n in (40, 30, 50))
    first = measure(Pixels(), fake, split(test), split(train), cache)
    again = Pixels()
    assert measure(again, fake, split(test), split(train), cache) == first
    assert again.seen == 40
    for path in tmp_path.glob("pixels-floor-*.safetensors"):
        save_file({"energy": torch.tensor(7.0)}, path)
    stored = measure(again, fake, split(test), split(train), cache)
    assert stored["energy_floor"] == 7  # the file is what is read
    assert "fd_floor" not in stored


def test_floors_are_told_apart_by_all_that_they_depend_on(tmp_path, cache):
    generator = torch.Generator().manual_seed(0)
    a, b = (split(torch.randn(30, 2, generator=generator)) for _ in range(2))
    for reference, other, n in ((a, b, 30), (b, a, 30), (a, b, 20), (a, a, 30)):
        found = floor(Pixels(), reference, other, n, cache)
        own = real_features(Pixels(), other, n, cache)["pixel"]
        assert found["energy"] == energy(own, reference.x)
    assert len(list(tmp_path.glob("pixels-floor-*.safetensors"))) == 4


def test_scores_that_the_samples_are_too_few_for_are_left_out(lite0, cache):
    values = measure(lite0, random_images(6), split(random_images(7)), split(random_images(5)), cache)
    shares = {f"{name}_lite0" for name in ("precision", "recall", "density", "coverage")}
    assert set(values) - {"n", "n_reference", "n_floor", "n_floor_from"} == (
        {"fd_lite0", "kid_lite0", "kid_lite0_floor"} | shares  # of 5 there are none, and no distance of 6
    )


def test_one_of_many_who_ask_computes(cache):
    asked = []

    def compute():
        asked.append(1)
        return {"value": torch.arange(3)}

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: cache("it", ("same",), compute)["value"], range(8)))
    assert len(asked) == 1
    assert all(torch.equal(value, torch.arange(3)) for value in found)
