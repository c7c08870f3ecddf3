"""Networks and their layers against published sizes and costs, diffusers and torch."""

import pytest
import torch
import torch.nn.functional as F
from diffusers import DiTTransformer2DModel
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from difflab.backbone.attention import AttentionPool, SelfAttention, attend
from difflab.backbone.dit import DiT
from difflab.backbone.unet import UNet
from difflab.experiment.parts.build import build
from helpers.networks import count, inputs, perturbed, settings


def test_the_cifar10_network_of_ddpm_has_its_published_size():
    with torch.device("meta"):
        net, attention = build(settings("unet_cifar10", [3, 32, 32], classes=0)), SelfAttention(256, None, 32)
    assert count(net) == 35_746_307  # google/ddpm-cifar10-32 in diffusers
    # score_sde_pytorch attends once on the way up at 16x16, after the last block; we, like Ho et al., after all three
    assert count(net) - 2 * count(attention) == 35_218_947


def test_the_networks_of_improved_diffusion_have_their_published_sizes(subtests):
    for shape, classes, width, multipliers, published in [
        ((3, 32, 32), 0, 128, (1, 2, 2, 2), 52_546_438),
        ((3, 64, 64), 0, 128, (1, 2, 3, 4), 121_063_942),
        ((3, 64, 64), 1000, 192, (1, 2, 3, 4), 273_049_350 + 4 * 192),  # our null class; theirs has none
    ]:
        with subtests.test(f"{shape}, width {width}"):
            with torch.device("meta"):
                net = UNet(
                    shape, classes, width, multipliers, blocks=3, attention=(16, 8), groups=32, learned_variance=True
                )
            assert count(net) == published


def test_sizes_and_costs_are_the_published_ones(subtests):
    for option, parameters, trained, gmacs in [
        ("dit_s", 32_963_360, 32_865_056, (6.06, 1.41, 0.36)),
        ("dit_b", 130_512_416, 130_315_808, (23.01, 5.57, 1.42)),
        ("dit_l", 458_102_816, 457_840_672, (80.70, 19.70, 5.01)),
        ("dit_xl", 675_129_632, 674_834_720, (118.62, 29.04, 7.39)),
    ]:
        with subtests.test(option):
            config = settings(option, [4, 32, 32], classes=1000) | {"learned_variance": True}
            for patch, published in zip((2, 4, 8), gmacs, strict=True):
                with torch.device("meta"), FlopCounterMode(display=False) as counter:
                    net = build(config | {"patch": patch})
                    net(torch.empty(1, 4, 32, 32), torch.empty(1), torch.empty(1, dtype=torch.long))
                # two for each multiply-add
                assert counter.get_total_flops() / 2e9 == pytest.approx(published, abs=0.005)
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


def test_self_attention_is_torchs_multi_head_attention(subtests):
    for head_channels, heads in [(None, 1), (8, 4)]:
        with subtests.test(f"{heads} heads"):
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


def test_pooling_is_torchs_attention_from_the_mean():
    torch.manual_seed(0)
    ours, theirs = AttentionPool(32, 5, heads=4), nn.MultiheadAttention(32, 4, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key_value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key_value.bias]))
        theirs.out_proj.weight.copy_(torch.eye(32))
    tokens = torch.randn(3, 7, 32)
    pooled, _ = theirs(tokens.mean(1, keepdim=True), tokens, tokens)
    torch.testing.assert_close(ours(tokens), ours.project(pooled[:, 0]))
