"""Extractors: their networks, their weights, and the features of images and points."""

import numpy as np
import pytest
import torch
from torch import nn

from difflab.metric.efficientnet_lite0 import Lite0Network
from difflab.metric.features import EfficientNetLite0, fold, load
from difflab.metric.inception import FILES, Inception, find_weights
from difflab.metric.inception_v3 import InceptionNetwork, resize_tensorflow1
from difflab.metric.points import Points
from helpers.images import random_images


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
