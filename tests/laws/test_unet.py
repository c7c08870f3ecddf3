"""The U-Net: the laws of backbones for settings that conf/ does not have, and feature maps in channels-last."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from difflab.backbone.unet import UNet
from difflab.laws import backbones as laws
from helpers.laws import assert_law
from helpers.networks import inputs


def small(shape=(1, 16, 16), classes=3, **settings):
    torch.manual_seed(0)
    return UNet(shape, classes, **{"width": 32, "head_channels": 32, **settings})


def test_outputs_are_like_inputs_and_zero_at_initialisation():
    shapes = [
        ((1, 16, 16), {}),
        ((3, 8, 8), {}),
        ((2, 16, 24), {"patch": 2}),
        ((5, 32, 8), {"multipliers": (1, 2), "attention": (16,), "blocks": 1}),
        ((4, 9, 7), {"multipliers": (2,), "attention": (), "width": 20, "head_channels": None}),
    ]
    nets = [small(shape, **own, learned_variance=both) for (shape, own), both in itertools.product(shapes, (0, 1))]
    some = (laws.output_is_like_the_input, laws.output_is_zero_at_initialisation)
    assert_law(law(net) for law, net in itertools.product(some, nets))


def test_a_sample_depends_on_itself_alone():
    settings = [{}, {"scale_shift": False, "groups": 32, "head_channels": None}, {"patch": 2}]
    assert_law(laws.a_sample_depends_on_itself_alone(small(**own)) for own in settings)


def test_autocast_is_close():
    assert_law(laws.autocast_is_close(small(scale_shift=own)) for own in (False, True))


def test_every_feature_map_stays_in_channels_last():
    shapes = [((1, 16, 16), 1), ((1, 16, 16), 2), ((3, 16, 16), 1), ((3, 32, 32), 2)]
    strayed, maps = [], []

    def watch(module: nn.Module, _: tuple[Tensor, ...], out: Tensor | list[Tensor]) -> None:
        found = [m for m in (out if isinstance(out, list | tuple) else [out]) if m is not None and m.ndim == 4]
        maps.extend(found)
        strayed.extend(type(module) for m in found if not m.is_contiguous(memory_format=torch.channels_last))

    for (shape, patch), autocast in itertools.product(shapes, (False, True)):
        net = small(shape, patch=patch)
        for module in net.modules():
            module.register_forward_hook(watch)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            net(*inputs(shape))
        assert not strayed, f"{shape}, patch={patch}, autocast={autocast}"
    assert len(maps) > 100


def test_settings_that_do_not_fit_say_so(subtests):
    for settings, message in [
        (
            {"shape": (1, 28, 28), "multipliers": (1, 2, 2, 2)},
            "28x28 do not divide by 8 for 4 levels .* fewer multipliers",
        ),
        ({"shape": (1, 16, 18)}, "16x18 do not divide by 4"),
        ({"shape": (1, 12, 12), "patch": 2}, "12x12 do not divide by 8 for 3 levels with patch=2: .* smaller patch"),
        ({"cross": (7,)}, r"cross at \[7\] never occurs: .* \[16, 8, 4\]"),
        ({"cross": (8,)}, r"attends to tokens, and Classes has none: choose book=tokens .* backbone.cross=\[\]"),
        ({"attention": (8, 7)}, r"attention at \[7\] never occurs: .* \[16, 8, 4\]"),
        ({"head_channels": 48}, "head_channels=48 does not divide the 64 channels"),
        ({"blocks": 0}, "one or more blocks"),
        ({"groups": 12}, "groups=12 does not divide width=32"),
    ]:
        with subtests.test(message), pytest.raises(ValueError, match=message):
            small(**settings)
