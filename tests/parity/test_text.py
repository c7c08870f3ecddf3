"""The text transformer against transformers' CLIPTextModel."""

import torch
from transformers import CLIPTextConfig, CLIPTextModel

from difflab.backbone import TextTransformer
from helpers.networks import randomised

PARTS = {"norm1": "layer_norm1", "norm2": "layer_norm2", "project": "self_attn.out_proj"}
PARTS |= {"perceptron.0": "mlp.fc1", "perceptron.2": "mlp.fc2"}


def to_clip(ours):
    """Our weights under the names of transformers."""
    own, state = ours.state_dict(), {}
    for kind in ("weight", "bias"):
        state[f"final_layer_norm.{kind}"] = own[f"norm.{kind}"]
        for k in range(len(ours.blocks)):
            theirs = f"encoder.layers.{k}"
            state |= {f"{theirs}.{b}.{kind}": own[f"blocks.{k}.{a}.{kind}"] for a, b in PARTS.items()}
            for part, each in zip("qkv", own[f"blocks.{k}.qkv.{kind}"].chunk(3), strict=True):
                state[f"{theirs}.self_attn.{part}_proj.{kind}"] = each
    state["embeddings.token_embedding.weight"] = own["words.weight"]
    state["embeddings.position_embedding.weight"] = own["positions.weight"]
    return state


def test_it_is_the_text_encoder_of_clip():
    ours = randomised(TextTransformer(40, 12, width=32, depth=3, heads=4)).double()
    config = CLIPTextConfig(
        vocab_size=40,
        hidden_size=32,
        intermediate_size=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=12,
        hidden_act="quick_gelu",
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=3,  # at 2 transformers pools at the largest id, for old files of weights
    )
    theirs = CLIPTextModel(config).double().eval()
    state = to_clip(ours)
    prefix = "" if "embeddings.token_embedding.weight" in theirs.state_dict() else "text_model."
    missing, unexpected = theirs.load_state_dict({prefix + key: value for key, value in state.items()}, strict=False)
    assert not unexpected
    assert all("position_ids" in key for key in missing)
    ids = torch.randint(4, 40, (5, 12), generator=torch.Generator().manual_seed(0))
    for row, end in enumerate((11, 6, 1, 3, 9)):
        ids[row, end], ids[row, end + 1 :] = 2, 0
    with torch.no_grad():
        sequence, pooled = ours(ids)
        expected = theirs(input_ids=ids).last_hidden_state
    torch.testing.assert_close(sequence, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(pooled, expected[torch.arange(5), torch.tensor([11, 6, 1, 3, 9])], rtol=0, atol=1e-10)
