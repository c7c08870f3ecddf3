import math

import pytest
import torch
from diffusers import DiTTransformer2DModel
from networks import count, inputs, perturbed, settings
from torch.utils.flop_counter import FlopCounterMode

from difflab.backbone.dit import DiT
from difflab.experiment.config import build


@pytest.mark.parametrize(
    ("option", "parameters", "trained", "gmacs"),
    [
        ("dit_s", 32_963_360, 32_865_056, (6.06, 1.41, 0.36)),
        ("dit_b", 130_512_416, 130_315_808, (23.01, 5.57, 1.42)),
        ("dit_l", 458_102_816, 457_840_672, (80.70, 19.70, 5.01)),
        ("dit_xl", 675_129_632, 674_834_720, (118.62, 29.04, 7.39)),
    ],
)
def test_sizes_and_costs_are_the_published_ones(option, parameters, trained, gmacs):
    config = settings(option, [4, 32, 32], classes=1000) | {"learned_variance": True}
    for patch, published in zip((2, 4, 8), gmacs, strict=True):
        with torch.device("meta"), FlopCounterMode(display=False) as counter:
            net = build(config | {"patch": patch})
            net(torch.empty(1, 4, 32, 32), torch.empty(1), torch.empty(1, dtype=torch.long))
        assert counter.get_total_flops() / 2e9 == pytest.approx(published, abs=0.005)  # two for each multiply-add
        if patch == 2:
            assert (count(net) + net.positions.numel(), count(net)) == (parameters, trained)


def test_it_is_the_dit_of_diffusers():
    torch.manual_seed(0)
    ours = perturbed(DiT((4, 16, 16), 10, width=48, depth=2, heads=3, learned_variance=True))
    theirs = DiTTransformer2DModel(
        3, 16, 4, out_channels=8, num_layers=2, sample_size=16, num_embeds_ada_norm=10, norm_eps=1e-6
    ).eval()
    condition, state = ours.condition, {}

    def copy(name, weight, bias):
        state[f"{name}.weight"], state[f"{name}.bias"] = weight, bias

    def joined(*modulations):  # theirs puts shift before scale, and one layer where we have several
        pairs = []
        for gated in modulations:
            gain, bias = gated.modulated.project.weight.chunk(2), gated.modulated.project.bias.chunk(2)
            pairs += [(gain[1], bias[1]), (gain[0], bias[0])]
            pairs += [(gated.gate.weight, gated.gate.bias)] if hasattr(gated, "gate") else []
        return (torch.cat(parts) for parts in zip(*pairs, strict=True))

    copy("pos_embed.proj", ours.enter.weight.view(48, 4, 2, 2), ours.enter.bias)
    theirs.pos_embed.pos_embed.copy_(ours.positions[None])  # theirs has the columns first and other frequencies
    for k in range(2):
        name, attention, perceptron = f"transformer_blocks.{k}", ours.blocks[2 * k], ours.blocks[2 * k + 1]
        embed = f"{name}.norm1.emb"
        cosine_first = condition.linear1.weight.roll(128, dims=1)
        copy(f"{embed}.timestep_embedder.linear_1", cosine_first, condition.linear1.bias)
        copy(f"{embed}.timestep_embedder.linear_2", condition.linear2.weight, condition.linear2.bias)
        state[f"{embed}.class_embedder.embedding_table.weight"] = condition.table.weight
        copy(f"{name}.norm1.linear", *joined(attention, perceptron))
        qkv = attention.layer.qkv
        for part, weight, bias in zip("qkv", qkv.weight.chunk(3), qkv.bias.chunk(3), strict=True):
            copy(f"{name}.attn1.to_{part}", weight, bias)
        copy(f"{name}.attn1.to_out.0", attention.layer.project.weight, attention.layer.project.bias)
        copy(f"{name}.ff.net.0.proj", perceptron.layer[0].weight, perceptron.layer[0].bias)
        copy(f"{name}.ff.net.2", perceptron.layer[2].weight, perceptron.layer[2].bias)
    copy("proj_out_1", *joined(ours))
    channels_last = torch.arange(32).view(8, 4).T.flatten()  # theirs has the channels innermost
    copy("proj_out_2", ours.leave.weight[channels_last], ours.leave.bias[channels_last])
    theirs.load_state_dict(state)
    x, code, label = inputs(ours.shape, classes=10)
    with torch.no_grad():
        torch.testing.assert_close(ours(x, code, label), theirs(x, code, label).sample, rtol=1e-4, atol=1e-4)


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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patch": 8}, "16x20 do not divide into patches of side 8: choose a patch that divides both sides"),
        ({"heads": 5}, "width=32 must be a multiple of heads=5 and of 4"),
        ({"width": 34, "heads": 2}, "width=34 must be a multiple of heads=2 and of 4"),
        ({"shape": (2,)}, r"shape \[2\] is a point, not an image: choose backbone=mlp"),
    ],
)
def test_settings_that_do_not_fit_say_so(changes, message):
    with pytest.raises(ValueError, match=message):
        DiT(**{"shape": (1, 16, 20), "classes": 0, "width": 32, **changes})
