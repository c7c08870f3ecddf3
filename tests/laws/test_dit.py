"""The diffusion transformer: its positions, its initialisation, and refusals."""

import math

import pytest
import torch

from difflab.backbone.dit import DiT


def test_positions_know_the_offset_of_two_patches_and_nothing_else():
    positions = DiT((1, 12, 20), 0, width=32).positions.double().view(6, 10, 32)
    frequency = 10000 ** -torch.linspace(0, 1, 8, dtype=torch.float64)
    down, right = (torch.arange(side)[:, None] * frequency for side in (6, 10))
    closed = down.cos().sum(1)[:, None] + right.cos().sum(1)  # sum of cos f(y - y') + cos f(x - x')
    for y, x in ((0, 0), (2, 3), (5, 9)):
        inner = (positions * positions[y, x]).sum(2)
        offsets = (torch.arange(6) - y).abs()[:, None], (torch.arange(10) - x).abs()
        torch.testing.assert_close(inner, closed[offsets], rtol=0, atol=1e-5)


def test_blocks_are_the_identity_at_first_and_linear_layers_are_xavier():
    torch.manual_seed(0)
    net = DiT((1, 16, 16), 10, width=64, depth=2)
    tokens, condition = torch.randn(2, 5, 64), torch.randn(2, 64)
    for block in net.blocks:
        assert torch.equal(block(tokens, condition), tokens)
    for layer in (net.enter, net.blocks[0].layer.qkv, net.blocks[1].layer[0]):
        bound = math.sqrt(6 / sum(layer.weight.shape))
        assert not layer.bias.any()
        assert 0.9 * bound < layer.weight.abs().max() <= bound
    for weight in (net.condition.linear1.weight, net.condition.linear2.weight, net.condition.table.weight):
        assert weight.std().item() == pytest.approx(0.02, rel=0.1)


def test_settings_that_do_not_fit_say_so(subtests):
    for changes, message in [
        ({"patch": 8}, "16x20 do not divide into patches of side 8: choose a patch that divides both sides"),
        ({"heads": 5}, "width=32 must be a multiple of heads=5 and of 4"),
        ({"width": 34, "heads": 2}, "width=34 must be a multiple of heads=2 and of 4"),
        ({"shape": (2,)}, r"shape \[2\] is a point, not an image: choose backbone=mlp"),
    ]:
        with subtests.test(message), pytest.raises(ValueError, match=message):
            DiT(**{"shape": (1, 16, 20), "classes": 0, "width": 32, **changes})
