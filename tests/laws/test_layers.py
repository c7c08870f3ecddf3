import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from difflab.backbone.layers import SelfAttention, attend, group_norm, sinusoid


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
