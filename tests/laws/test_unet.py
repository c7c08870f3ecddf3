import pytest
import torch
from networks import count, inputs, perturbed, settings
from torch import Tensor, nn

from difflab.backbone.layers import SelfAttention
from difflab.backbone.unet import UNet
from difflab.experiment.config import build


def small(shape=(1, 16, 16), classes=3, **settings):
    torch.manual_seed(0)
    return UNet(shape, classes, **{"width": 32, "head_channels": 32, **settings})


@pytest.mark.parametrize("learned_variance", [False, True])
@pytest.mark.parametrize(
    ("shape", "settings"),
    [
        ((1, 16, 16), {}),
        ((3, 8, 8), {}),
        ((2, 16, 24), {"patch": 2}),
        ((5, 32, 8), {"multipliers": (1, 2), "attention": (16,), "blocks": 1}),
        ((4, 9, 7), {"multipliers": (2,), "attention": (), "width": 20, "head_channels": None}),
    ],
)
def test_the_output_is_like_the_input_and_zero_at_first(shape, settings, learned_variance):
    channels, height, width = shape
    net = small(shape, learned_variance=learned_variance, **settings)
    out = net(*inputs(shape))
    assert out.shape == (4, (1 + learned_variance) * channels, height, width)
    assert not out.any()
    assert perturbed(net)(*inputs(shape)).any()


@pytest.mark.parametrize("settings", [{}, {"scale_shift": False, "groups": 32, "head_channels": None}, {"patch": 2}])
def test_a_sample_does_not_depend_on_its_batch(settings):
    net = perturbed(small(**settings)).double()
    x, code, label = inputs(net.shape, dtype=torch.float64)
    together = net(x, code, label)
    for k in range(len(x)):
        torch.testing.assert_close(net(x[k, None], code[k, None], label[k, None])[0], together[k], rtol=0, atol=1e-11)


@pytest.mark.parametrize("scale_shift", [False, True])
def test_autocast_is_close_to_float64_and_returns_the_dtype_of_the_input(scale_shift):
    net = perturbed(small(scale_shift=scale_shift))
    x, code, label = inputs(net.shape)
    with torch.autocast("cpu", torch.bfloat16):
        half = net(x, code, label)
    exact = net.double()(x.double(), code.double(), label)
    assert (half.dtype, exact.dtype) == (torch.float32, torch.float64)
    assert (half - exact).square().mean() < 0.03**2 * exact.var()


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize(("shape", "patch"), [((1, 16, 16), 1), ((1, 16, 16), 2), ((3, 16, 16), 1), ((3, 32, 32), 2)])
def test_every_feature_map_stays_in_channels_last(shape, patch, autocast):
    net = small(shape, patch=patch)
    strayed = []

    def watch(module: nn.Module, _: tuple[Tensor, ...], out: Tensor | list[Tensor]) -> None:
        maps = [m for m in (out if isinstance(out, list) else [out]) if m.ndim == 4]
        strayed.extend(type(module) for m in maps if not m.is_contiguous(memory_format=torch.channels_last))

    for module in net.modules():
        module.register_forward_hook(watch)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        net(*inputs(shape))
    assert not strayed


def test_the_cifar10_network_of_ddpm_has_its_published_size():
    with torch.device("meta"):
        net, attention = build(settings("unet_cifar10", [3, 32, 32], classes=0)), SelfAttention(256, None, 32)
    assert count(net) == 35_746_307  # google/ddpm-cifar10-32 in diffusers
    # score_sde_pytorch attends once on the way up at 16x16, after the last block; we, like Ho et al., after all three
    assert count(net) - 2 * count(attention) == 35_218_947


@pytest.mark.parametrize(
    ("shape", "classes", "width", "multipliers", "published"),
    [
        ((3, 32, 32), 0, 128, (1, 2, 2, 2), 52_546_438),
        ((3, 64, 64), 0, 128, (1, 2, 3, 4), 121_063_942),
        ((3, 64, 64), 1000, 192, (1, 2, 3, 4), 273_049_350 + 4 * 192),  # our null class; theirs has none
    ],
)
def test_the_networks_of_improved_diffusion_have_their_published_sizes(shape, classes, width, multipliers, published):
    with torch.device("meta"):
        net = UNet(shape, classes, width, multipliers, blocks=3, attention=(16, 8), groups=32, learned_variance=True)
    assert count(net) == published


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"shape": (1, 28, 28), "multipliers": (1, 2, 2, 2)},
            "28x28 do not divide by 8 for 4 levels .* fewer multipliers",
        ),
        ({"shape": (1, 16, 18)}, "16x18 do not divide by 4"),
        ({"shape": (1, 12, 12), "patch": 2}, "12x12 do not divide by 8 for 3 levels with patch=2: .* smaller patch"),
        ({"attention": (8, 7)}, r"attention at \[7\] never occurs: .* \[16, 8, 4\]"),
        ({"head_channels": 48}, "head_channels=48 does not divide the 64 channels"),
        ({"blocks": 0}, "one or more blocks"),
        ({"groups": 12}, "groups=12 does not divide width=32"),
    ],
)
def test_settings_that_do_not_fit_say_so(settings, message):
    with pytest.raises(ValueError, match=message):
        small(**settings)
