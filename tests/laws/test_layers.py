"""Layers of backbones by their formulas."""

import numpy as np
import torch

from difflab.backbone.layers import group_norm, sinusoid


def test_the_sinusoid_is_its_formula(subtests):
    for dtype in [torch.float32, torch.float64, torch.int64]:
        with subtests.test(str(dtype)):
            code = torch.tensor([0, 1, 7, 999], dtype=dtype)
            angle = code.numpy()[:, None] * np.exp(-np.log(10000) * np.arange(32) / 31)
            expected = torch.from_numpy(np.concatenate([np.sin(angle), np.cos(angle)], axis=1))
            # half a unit in the last place of 999 is 3e-5 in float32
            tolerance = 1e-11 if dtype == torch.float64 else 3e-4
            torch.testing.assert_close(sinusoid(code, 64).double(), expected, rtol=0, atol=tolerance)


def test_default_groups_hold_at_least_sixteen_channels():
    for channels in (1, 8, 20, 40, 64, 100, 144, 192):
        norm = group_norm(channels)
        assert channels % norm.num_groups == 0, channels
        assert channels // norm.num_groups >= min(16, channels), channels
