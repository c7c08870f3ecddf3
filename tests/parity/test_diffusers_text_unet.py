"""The spatial transformer and the U-Net with cross-attention, against those of latent diffusion in diffusers."""

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.transformers.transformer_2d import Transformer2DModel

from difflab.backbone import UNet
from difflab.backbone.attention import SpatialTransformer
from helpers.captions import Ready
from helpers.closed_forms import normal
from helpers.diffusers_weights import both, split
from helpers.networks import randomised

PLAIN = {"norm": "norm", "enter": "proj_in", "leave": "proj_out"}
BLOCK = {f"norm{k}": f"norm{k}" for k in (1, 2, 3)} | {"perceptron.0.project": "ff.net.0.proj"}
BLOCK |= {"perceptron.1": "ff.net.2"}


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
