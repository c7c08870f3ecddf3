from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from difflab.metric import higher_is_better, title
from difflab.metric.dinov2 import DINOv2
from difflab.metric.distance import energy, frechet
from difflab.metric.efficientnet_lite0 import Lite0Network
from difflab.metric.extrapolated import frechet_and_limit
from difflab.metric.features import EfficientNetLite0, Score, fold, load
from difflab.metric.inception import FILES, Inception, find_weights
from difflab.metric.inception_v3 import InceptionNetwork, resize_tensorflow1
from difflab.metric.points import Points
from difflab.metric.reference import floor, measure, real_features


def split(x):
    return SimpleNamespace(x=x, sha256=hashlib.sha256(x.numpy().tobytes()).hexdigest())


def random_images(n, channels=3, size=20, seed=0):
    return torch.randint(
        0, 256, (n, channels, size, size), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8
    )


@pytest.fixture(scope="module")
def lite0():
    return EfficientNetLite0()


@pytest.fixture(scope="module")
def fashion16():
    with np.load(files("difflab.data") / "fashion16.npz") as archive:
        return split(torch.from_numpy(archive["x"])[:, None]), split(torch.from_numpy(archive["test_x"])[:300, None])


def lively(network):
    """A network whose batch norms do something."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = network()
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                for values in (module.weight.data, module.running_var):
                    values.uniform_(0.5, 1.5)
                for values in (module.bias.data, module.running_mean):
                    values.normal_(0, 0.2)
    return net.eval().requires_grad_(False)


def test_folding_batch_norms_keeps_the_features(subtests):
    for network in [Lite0Network, InceptionNetwork]:
        with subtests.test(network.__name__):
            net, images = lively(network), random_images(2).float()
            before = net(images)
            after = fold(net)(images)
            assert not any(isinstance(module, nn.BatchNorm2d) for module in net.modules())
            for layer, features in before.items():
                assert features.abs().mean() > 0.1
                torch.testing.assert_close(after[layer], features, rtol=1e-4, atol=1e-4)


def test_networks_have_the_published_parameters():
    with torch.device("meta"):
        lite0, inception = Lite0Network(), InceptionNetwork()
    assert sum(p.numel() for p in lite0.parameters()) == 4_652_008
    # torchvision's Inception v3 without its auxiliary head has 23,834,568 for 1000 classes, and 1008 are meant here
    assert sum(p.numel() for p in inception.parameters()) == 23_834_568 + 8 * (2048 + 1)
    assert inception.state_dict()["Mixed_7c.branch3x3dbl_3b.conv.weight"].shape == (384, 384, 3, 1)
    assert inception.state_dict()["Mixed_5b.branch_pool.bn.running_var"].shape == (32,)


def test_features_do_not_depend_on_the_batch(lite0):
    images = random_images(23)
    whole = lite0(images)
    for layer, features in whole.items():
        assert features.dtype == torch.float32
        assert torch.equal(features, torch.cat([lite0(part)[layer] for part in images.split(9)]))
        assert torch.equal(features.flip(0), lite0(images.flip(0))[layer])
    assert {layer: tuple(features.shape) for layer, features in whole.items()} == {
        "block10": (23, 112),
        "pool": (23, 1280),
    }


def test_features_are_full_precision_under_autocast(lite0):
    images = random_images(3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = lite0(images)
    assert torch.equal(inside["pool"], lite0(images)["pool"])


def test_measuring_leaves_the_precision_of_matrix_products_alone(lite0):
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high")
        lite0(random_images(1))
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)


def test_grey_is_equal_red_green_and_blue(lite0):
    grey = random_images(3, channels=1)
    assert torch.equal(lite0(grey)["pool"], lite0(grey.repeat(1, 3, 1, 1))["pool"])


def test_only_byte_images_have_features(lite0, subtests):
    for images in [torch.zeros(2, 3, 8, 8), random_images(2, channels=2), random_images(2)[0], random_images(2)[:0]]:
        with subtests.test(f"{images.dtype} {tuple(images.shape)}"), pytest.raises(ValueError, match="uint8 images"):
            lite0(images)


def test_a_point_is_its_own_feature():
    points = torch.randn(7, 2)
    assert torch.equal(Points()(points)["point"], points)


def test_images_and_points_are_told_apart_with_the_way_out(lite0):
    with pytest.raises(ValueError, match=r"torch\.uint8 \(2, 3, 20, 20\); protocol=quick measures images"):
        Points()(random_images(2))
    with pytest.raises(ValueError, match=r"torch\.float32 \(2, 2\); protocol=toy measures points"):
        lite0(torch.zeros(2, 2))


def test_points_that_are_lost_are_counted():
    points = torch.zeros(5, 2)
    points[1, 0], points[3] = torch.nan, torch.inf
    with pytest.raises(ValueError, match="2 of 5 points are not finite"):
        Points()(points)


def test_building_an_extractor_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    EfficientNetLite0()
    assert torch.equal(torch.get_rng_state(), before)


def test_other_weights_are_refused(tmp_path):
    torch.save(Lite0Network().state_dict(), tmp_path / "weights.pth")
    with pytest.raises(ValueError, match="sha256"):
        load(Lite0Network, tmp_path / "weights.pth", EfficientNetLite0.sha256)
    with pytest.raises(ValueError, match="sha256"):
        Inception(tmp_path / "weights.pth")


def test_resize_reads_at_multiples_of_the_scale(subtests):
    for size in [28, 32, 299, 512]:
        with subtests.test(f"side {size}"):
            image = random_images(1, size=size).double()
            at = np.arange(299) * size / 299
            rows = np.stack([[np.interp(at, np.arange(size), row) for row in channel] for channel in image[0].numpy()])
            expected = np.stack([[np.interp(at, np.arange(size), column) for column in channel.T] for channel in rows])
            np.testing.assert_allclose(
                resize_tensorflow1(image, 299)[0].numpy(), expected.transpose(0, 2, 1), atol=1e-9
            )


# --- Inception weights


def test_missing_inception_weights_are_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"download failed.*protocol\.extractor\.weights=FILE"):
        find_weights(None, url=(tmp_path / "nowhere.pth").as_uri())
    with pytest.raises(FileNotFoundError, match=r"no Inception weights at .*mine\.pth"):
        Inception(tmp_path / "mine.pth")


@pytest.mark.parametrize("name", FILES)
def test_inception_weights_are_found_in_the_hub_cache(tmp_path, monkeypatch, name):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = tmp_path / "hub" / "checkpoints" / name
    path.parent.mkdir(parents=True)
    path.touch()
    assert find_weights(None) == path


# --- Measuring


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


def test_the_cache_tells_data_and_counts_apart(lite0, cache):
    real, other = split(random_images(5, seed=0)), split(random_images(5, seed=1))
    few, all_, others = (real_features(lite0, s, n, cache)["pool"] for s, n in ((real, 3), (real, 5), (other, 5)))
    assert len(few) == 3
    assert not torch.equal(all_, others)
    assert all(any(torch.equal(row, own) for own in all_) for row in few)


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


def test_the_floor_uses_all_there_is(lite0, cache):
    values = measure(lite0, random_images(6), split(random_images(4)), split(random_images(3)), cache)
    assert (values["n"], values["n_reference"], values["n_floor"]) == (6, 4, 3)


def test_images_of_another_shape_are_not_measured(lite0, cache):
    real = split(random_images(4))
    with pytest.raises(ValueError, match="cannot be measured"):
        measure(lite0, random_images(4, channels=1), real, real, cache)


class Pixels:
    """Images as they are, and how many were asked for."""

    name, sha256, resize = "pixels", "none", "none"
    scores = (
        Score("pixel", ("fd", "fd_inf"), frechet_and_limit),
        Score.single("pixel", "energy", energy),
    )

    def __init__(self):
        self.seen = 0

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
        assert values[f"{key}_vs_train_floor"] == distance(test, train)
        assert values[f"{key}_floor"] == pytest.approx(distance(train, test), rel=0.9)  # 40 of the 50
    counts = {key: value for key, value in values.items() if key.startswith("n")}
    assert counts == {"n": 40, "n_reference": 30, "n_floor": 40, "n_reference_vs_train": 50, "n_floor_vs_train": 30}
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
    assert set(values) - {"n", "n_reference", "n_floor"} == (
        {"fd_lite0", "fd_lite0_floor", "kid_lite0", "kid_lite0_floor"} | shares  # of 5 there are none
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


# --- Reading


def test_every_score_has_a_direction_and_a_title(subtests):
    for extractor in [EfficientNetLite0, Inception, Points, DINOv2]:
        with subtests.test(extractor.__name__):
            for name in (name for score in extractor.scores for name in score.names):
                better = name.startswith(("precision", "recall", "density", "coverage"))
                for key in (name, f"{name}_floor", f"{name}_vs_train", f"{name}_vs_train_floor"):
                    assert higher_is_better(key) == better
                assert title(f"{name}_vs_train_floor") != title(name)


def test_other_scores_have_one_too_and_counts_have_none():
    assert [
        key
        for key in ("copies", "nn_gap", "bits_per_dim", "class_accuracy", "is_classifier", "kid_floor")
        if higher_is_better(key)
    ] == ["nn_gap", "class_accuracy", "is_classifier"]
    assert title("precision_dinov2_vs_train_floor") == "Precision (DINOv2, train, floor)"
    for key in ("n", "n_floor", "fd_", "precision_lite1", "bits_per_dim_se", "fd_lite0_vs_all"):
        with pytest.raises(ValueError, match=f"{key} is no score"):
            higher_is_better(key)
