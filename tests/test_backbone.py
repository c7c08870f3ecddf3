from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from torch import Tensor, nn

from difflab.backbone.layers import SelfAttention, attend, group_norm, sinusoid
from difflab.backbone.unet import UNet


def small(shape=(1, 16, 16), classes=3, **settings) -> UNet:
    torch.manual_seed(0)
    return UNet(shape, classes, **{"width": 32, "head_channels": 32, **settings})


def perturbed(net: UNet) -> UNet:
    """The network with noise on every weight, so that no branch is closed by its zero initialisation."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return net.eval()


def inputs(shape=(1, 16, 16), classes=3, batch=4, dtype=torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(2)
    code = 1000 * torch.rand(batch, generator=g, dtype=dtype)
    label = torch.randint(classes + 1, (batch,), generator=g)
    return torch.randn(batch, *shape, generator=g, dtype=dtype), code, label


def count(**settings) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in UNet(**settings).parameters())


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
    x, code, label = inputs(dtype=torch.float64)
    together = net(x, code, label)
    for k in range(len(x)):
        torch.testing.assert_close(net(x[k, None], code[k, None], label[k, None])[0], together[k], rtol=0, atol=1e-11)


def test_every_label_and_the_null_label_have_their_own_output():
    net = perturbed(small(classes=3))
    x, code, _ = inputs(batch=1)
    outputs = net(x.expand(4, -1, -1, -1), code.expand(4), torch.arange(net.classes + 1)).flatten(1)
    assert (torch.pdist(outputs) > 0.1).all()


def test_without_classes_labels_are_ignored():
    net = perturbed(small(classes=0))
    x, code, label = inputs()
    assert torch.equal(net(x, code, label), net(x, code, torch.zeros_like(label)))


def test_the_code_matters():
    net = perturbed(small())
    x, code, label = inputs()
    assert not torch.allclose(net(x, code, label), net(x, code + 1, label))


@pytest.mark.parametrize("scale_shift", [False, True])
def test_autocast_is_close_to_float64_and_returns_the_dtype_of_the_input(scale_shift):
    net = perturbed(small(scale_shift=scale_shift))
    x, code, label = inputs()
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


def test_every_parameter_receives_gradient():
    net = perturbed(small()).train()
    net(*inputs(batch=8)).square().sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_plain_attention_is_the_fused_one():
    q, k, v, g = (torch.randn(4, 2, 2, 9, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)).unbind()
    for t in (q, k, v):
        t.requires_grad_()
    plain, fused = attend(q, k, v), F.scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(plain, fused, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        torch.autograd.grad(plain, (q, k, v), g), torch.autograd.grad(fused, (q, k, v), g), rtol=1e-12, atol=1e-12
    )
    with torch.no_grad():
        torch.testing.assert_close(attend(q, k, v), plain, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("head_channels", "heads"), [(None, 1), (8, 4)])
def test_self_attention_is_torchs_multi_head_attention(head_channels, heads):
    torch.manual_seed(4)
    ours, theirs = SelfAttention(32, head_channels, None), nn.MultiheadAttention(32, heads, batch_first=True)
    with torch.no_grad():
        for mine, other in ((ours.qkv.weight, theirs.in_proj_weight), (ours.qkv.bias, theirs.in_proj_bias)):
            mine.copy_(other)
        ours.project.load_state_dict(theirs.out_proj.state_dict())
    x = torch.randn(2, 32, 4, 6)
    tokens = ours.norm(x).flatten(2).mT
    expected = x + theirs(tokens, tokens, tokens)[0].mT.reshape(x.shape)
    torch.testing.assert_close(ours(x), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
def test_the_sinusoid_is_its_formula(dtype):
    code = torch.tensor([0, 1, 7, 999], dtype=dtype)
    angle = code.numpy()[:, None] * np.exp(-np.log(10000) * np.arange(32) / 31)
    expected = torch.from_numpy(np.concatenate([np.sin(angle), np.cos(angle)], axis=1))
    tolerance = 1e-11 if dtype == torch.float64 else 3e-4  # half a unit in the last place of 999 is 3e-5 in float32
    torch.testing.assert_close(sinusoid(code, 64).double(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("channels", [1, 8, 20, 40, 64, 100, 144, 192])
def test_default_groups_hold_at_least_sixteen_channels(channels):
    norm = group_norm(channels)
    assert channels % norm.num_groups == 0
    assert channels // norm.num_groups >= min(16, channels)


def test_the_cifar10_network_of_ddpm_has_its_published_size():
    conf = Path(__file__).parents[1] / "conf" / "backbone" / "unet_cifar10.yaml"
    data = {"shape": [3, 32, 32], "classes": 0}
    settings = OmegaConf.to_container(OmegaConf.create({"data": data, "backbone": OmegaConf.load(conf)}), resolve=True)[
        "backbone"
    ]
    assert settings.pop("_target_") == f"{UNet.__module__}.{UNet.__name__}"
    assert count(**settings) == 35_746_307  # google/ddpm-cifar10-32 in diffusers
    # score_sde_pytorch attends once on the way up at 16x16, after the last block; we, like Ho et al., after all three
    single = sum(p.numel() for p in SelfAttention(256, None, 32).parameters())
    assert count(**settings) - 2 * single == 35_218_947


def test_the_networks_of_improved_diffusion_have_their_published_sizes():
    shared = {"blocks": 3, "attention": (16, 8), "groups": 32, "learned_variance": True}
    cifar10 = shared | {"shape": (3, 32, 32), "multipliers": (1, 2, 2, 2)}
    imagenet = shared | {"shape": (3, 64, 64), "multipliers": (1, 2, 3, 4)}
    assert count(**cifar10, classes=0, width=128) == 52_546_438
    assert count(**imagenet, classes=0, width=128) == 121_063_942
    null_class = 4 * 192  # one row of the label embedding, which theirs has not
    assert count(**imagenet, classes=1000, width=192) == 273_049_350 + null_class


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
