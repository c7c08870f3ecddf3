"""MM-DiT against diffusers' transformer of Stable Diffusion 3: a layer of two streams, and the whole network."""

import itertools

import torch
from diffusers import SD3Transformer2DModel
from diffusers.models.attention import JointTransformerBlock
from torch.nn import functional as F

from difflab.backbone import MMDiT
from helpers.captions import Ready
from helpers.closed_forms import normal
from helpers.diffusers_weights import both, split
from helpers.networks import randomised


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
