"""Networks that read a text against diffusers': latent diffusion's U-Net and Stable Diffusion 3's transformer."""

import itertools

import torch
from diffusers import SD3Transformer2DModel, UNet2DConditionModel
from diffusers.models.attention import JointTransformerBlock
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch.nn import functional as F

from difflab.backbone import MMDiT, UNet
from difflab.backbone.attention import SpatialTransformer
from helpers.captions import Ready
from helpers.networks import randomised

PLAIN = {"norm": "norm", "enter": "proj_in", "leave": "proj_out"}
BLOCK = {f"norm{k}": f"norm{k}" for k in (1, 2, 3)} | {"perceptron.0.project": "ff.net.0.proj"}
BLOCK |= {"perceptron.1": "ff.net.2"}


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def both(weights, ours, theirs):
    """Weight and bias, where there is one, under another name."""
    return {f"{theirs}.{k}": weights[f"{ours}.{k}"] for k in ("weight", "bias") if f"{ours}.{k}" in weights}


def split(weights, ours, *theirs):
    """Weight and bias of a layer that is several of theirs, side by side."""
    found = {}
    for key, value in both(weights, ours, "").items():
        found |= {f"{name}{key}": part for name, part in zip(theirs, value.chunk(len(theirs)), strict=True)}
    return found


def transformer(ours):
    """The weights of a `SpatialTransformer` under the names of diffusers' `Transformer2DModel`."""
    own, state, block = ours.state_dict(), {}, "transformer_blocks.0"
    for a, b in (*PLAIN.items(), *((a, f"{block}.{b}") for a, b in BLOCK.items())):
        state |= both(own, a, b)
    for k, name in enumerate(("self_attention", "cross_attention"), 1):
        attention = f"{block}.attn{k}"
        state |= both(own, f"{name}.query", f"{attention}.to_q")
        state |= split(own, f"{name}.key_value", f"{attention}.to_k", f"{attention}.to_v")
        state |= both(own, f"{name}.project", f"{attention}.to_out.0")
    return state


def as_convolutions(state):
    """The same where the first and the last layer are 1x1 convolutions."""
    outer = {key: value[..., None, None] for key, value in state.items() if "proj_" in key and value.ndim == 2}
    return state | outer


def test_the_spatial_transformer_is_that_of_latent_diffusion():
    """With a mask, too, which in diffusers is a mask of the encoder's states."""
    ours = randomised(SpatialTransformer(32, 20, 8, 4)).double()
    theirs = Transformer2DModel(4, 8, in_channels=32, cross_attention_dim=20, norm_num_groups=4).double().eval()
    theirs.load_state_dict(as_convolutions(transformer(ours)))
    x, tokens = normal(3, 32, 4, 6), normal(3, 5, 20, seed=1)
    mask = torch.arange(5) < torch.tensor([2, 5, 1])[:, None]
    for seen in (None, mask):
        with torch.no_grad():
            expected = theirs(x, encoder_hidden_states=tokens, encoder_attention_mask=seen).sample
            torch.testing.assert_close(ours(x, tokens, seen), expected, rtol=0, atol=1e-10)


def residual(ours, name):
    """The weights of a residual block under diffusers' names."""
    own = ours.state_dict()
    parts = {"norm": "norm1", "conv1": "conv1", "modulation.norm": "norm2", "conv2": "conv2"}
    parts |= {"modulation.project": "time_emb_proj", "shortcut": "conv_shortcut"}
    return {key: value for a, b in parts.items() for key, value in both(own, a, f"{name}.{b}").items()}


def unet(ours):
    """The weights of a `UNet` whose every level has cross-attention under the names of `UNet2DConditionModel`."""
    own, state = ours.state_dict(), {}

    def stage(stage, block, k):
        state.update(residual(stage.block, f"{block}.resnets.{k}"))
        if stage.cross is not None:
            inner = as_convolutions(transformer(stage.cross))
            state.update({f"{block}.attentions.{k}.{key}": value for key, value in inner.items()})

    for k, linear in enumerate(("linear1", "linear2"), 1):
        state |= both(own, f"condition.{linear}", f"time_embedding.linear_{k}")
    state |= both(own, "down.0.enter.1", "conv_in")
    for i, down in enumerate(ours.down):
        if i:
            state |= both(own, f"down.{i}.enter", f"down_blocks.{i - 1}.downsamplers.0.conv")
        for k, each in enumerate(down.stages):
            stage(each, f"down_blocks.{i}", k)
    for k, each in enumerate(ours.middle):
        stage(each, "mid_block", k)
    last = len(ours.up) - 1
    for i, up in enumerate(ours.up):
        for k, each in enumerate(up.stages):
            stage(each, f"up_blocks.{i}", k)
        if i < last:
            state |= both(own, f"up.{i}.leave.conv", f"up_blocks.{i}.upsamplers.0.conv")
    state |= both(own, f"up.{last}.leave.0", "conv_norm_out")
    return state | both(own, f"up.{last}.leave.2", "conv_out")


def test_the_unet_with_cross_attention_is_that_of_stable_diffusion():
    """The whole network; diffusers computes the sinusoid in float32."""
    tokens = normal(4, 5, 20)
    ours = UNet(
        (3, 8, 8),
        3,
        width=32,
        multipliers=(1, 2),
        blocks=2,
        attention=(),
        head_channels=16,
        scale_shift=False,
        groups=8,
        book=lambda classes, features: Ready(tokens),
        cross=(8, 4),
    )
    ours = randomised(ours).double()
    theirs = UNet2DConditionModel(
        sample_size=8,
        in_channels=3,
        out_channels=3,
        freq_shift=1,  # the lowest frequency is 1 / 10000
        flip_sin_to_cos=False,  # sines first
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(32, 64),
        layers_per_block=2,
        norm_num_groups=8,
        cross_attention_dim=20,
        attention_head_dim=(2, 4),  # which diffusers reads as the number of heads
    )
    theirs = theirs.double().eval()
    theirs.load_state_dict(unet(ours))
    x, code, label = normal(4, 3, 8, 8, seed=1), torch.tensor([0.0, 3.0, 250.0, 999.0]), torch.tensor([2, 0, 3, 1])
    with torch.no_grad():
        out, expected = ours(x, code.double(), label), theirs(x, code, tokens[label]).sample
    assert expected.std() > 0.1
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-5 * expected.abs().max().item())


def modulations(weights, *names):
    """One layer that makes shift, scale and, where there is one, gate of each."""
    found = {}
    for kind in ("weight", "bias"):
        parts = []
        for modulated, gate in names:
            gain, bias = weights[f"{modulated}.project.{kind}"].chunk(2)
            parts += [bias, gain, *([weights[f"{gate}.{kind}"]] if gate else [])]
        found[kind] = torch.cat(parts)
    return found


def scale_first(weights, name):
    """A modulation without a gate, which diffusers has the other way round."""
    return {kind: weights[f"{name}.project.{kind}"] for kind in ("weight", "bias")}


def under(name, weights):
    return {f"{name}.{key}": value for key, value in weights.items()}


def layer(ours, last):
    """The weights of a layer of `MMDiT` under the names of `JointTransformerBlock`."""
    own, state = ours.state_dict(), {}
    joint = "joint.image.modulated", "joint.image.gate"
    state |= under("norm1.linear", modulations(own, joint, ("image.modulated", "image.gate")))
    state |= both(own, "joint.image.query", "attn.to_q")
    state |= split(own, "joint.image.key_value", "attn.to_k", "attn.to_v")
    state |= both(own, "joint.image.project", "attn.to_out.0")
    state |= split(own, "joint.text.key_value", "attn.add_k_proj", "attn.add_v_proj")
    perceptrons = [("image", "ff")]
    if last:  # diffusers has a query of the text, whose output it does not use
        state |= under("norm1_context.linear", scale_first(own, "joint.text.modulated"))
        state |= {f"attn.add_q_proj.{k}": own[f"joint.image.query.{k}"] for k in ("weight", "bias")}
    else:
        text = "joint.text.modulated", "joint.text.gate"
        state |= under("norm1_context.linear", modulations(own, text, ("text.modulated", "text.gate")))
        state |= both(own, "joint.text.query", "attn.add_q_proj")
        state |= both(own, "joint.text.project", "attn.to_add_out")
        perceptrons.append(("text", "ff_context"))
    for stream, theirs in perceptrons:
        state |= both(own, f"{stream}.layer.0", f"{theirs}.net.0.proj")
        state |= both(own, f"{stream}.layer.2", f"{theirs}.net.2")
    for stream, added in (("image", ""), ("text", "added_")):
        state |= both(own, f"joint.{stream}.query_norm", f"attn.norm_{added}q")
        state |= both(own, f"joint.{stream}.key_norm", f"attn.norm_{added}k")
    return state


def mmdit(tokens, vectors, qk_norm=False):
    book = Ready(tokens, vectors)
    return randomised(MMDiT((4, 8, 8), 3, 32, 2, 4, qk_norm=qk_norm, book=lambda classes, features: book)).double()


def test_a_layer_of_two_streams_is_that_of_stable_diffusion_3(subtests):
    """Diffusers normalises queries and keys in float32."""
    image, text, temb = normal(3, 16, 32), normal(3, 5, 32, seed=1), normal(3, 32, seed=2)
    for last, qk_norm in itertools.product((False, True), (None, "rms_norm")):
        with subtests.test(last=last, qk_norm=qk_norm), torch.no_grad():
            ours = mmdit(normal(4, 5, 20), normal(4, 32), bool(qk_norm)).blocks[last]
            theirs = JointTransformerBlock(32, 4, 8, context_pre_only=last, qk_norm=qk_norm).double().eval()
            unused = {"attn.norm_added_q.weight": torch.ones(8)} if last and qk_norm else {}
            theirs.load_state_dict(layer(ours, last) | unused)
            expected = theirs(image, text, temb)
            found, bound = ours(image, text, F.silu(temb), None), 1e-6 if qk_norm else 1e-10
            torch.testing.assert_close(found[0], expected[1], rtol=0, atol=bound)
            if not last:
                torch.testing.assert_close(found[1], expected[0], rtol=0, atol=bound)


def test_it_is_the_transformer_of_stable_diffusion_3():
    """The whole network, with our positions in place of theirs; diffusers computes the sinusoid in float32."""
    tokens, pooled = normal(4, 5, 20), normal(4, 12, seed=3)
    theirs = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=20,
        caption_projection_dim=32,
        pooled_projection_dim=12,
        out_channels=4,
        pos_embed_max_size=4,
    )
    theirs = randomised(theirs).double().eval()
    embedder = theirs.time_text_embed.text_embedder
    with torch.no_grad():
        ours = mmdit(tokens, embedder(pooled))
    own, state = ours.state_dict(), theirs.state_dict()
    state["pos_embed.proj.weight"] = own["enter.weight"].view(32, 4, 2, 2)
    state["pos_embed.proj.bias"] = own["enter.bias"]
    state["pos_embed.pos_embed"] = ours.positions[None]
    cosine_first = own["condition.linear1.weight"].roll(128, dims=1)
    state |= under("time_text_embed.timestep_embedder.linear_1", {"weight": cosine_first})
    state["time_text_embed.timestep_embedder.linear_1.bias"] = own["condition.linear1.bias"]
    state |= both(own, "condition.linear2", "time_text_embed.timestep_embedder.linear_2")
    state |= both(own, "text", "context_embedder")
    for k, each in enumerate(ours.blocks):
        state |= under(f"transformer_blocks.{k}", layer(each, k == 1))
    state |= under("norm_out.linear", scale_first(own, "modulated"))
    channels_last = torch.arange(16).view(4, 4).T.flatten()  # theirs has the channels innermost
    state |= {f"proj_out.{k}": own[f"leave.{k}"][channels_last] for k in ("weight", "bias")}
    theirs.load_state_dict(state)
    x, code, label = normal(4, 4, 8, 8, seed=1), torch.tensor([0.0, 3.0, 250.0, 999.0]), torch.tensor([2, 0, 3, 1])
    embed = theirs.time_text_embed.time_proj  # theirs divides by half of the width, ours ends at 1 / 10000
    embed.downscale_freq_shift = 1
    with torch.no_grad():
        out = ours(x, code.double(), label)
        expected = theirs(x, tokens[label], pooled[label], code).sample
    assert expected.std() > 0.1
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-5 * expected.abs().max().item())
