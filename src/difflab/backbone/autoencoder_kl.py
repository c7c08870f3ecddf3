"""Autoencoders as diffusers stores them: `AutoencoderKL`, read and written by a map of names. No code is run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from difflab.backbone.autoencoder import Autoencoder

CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
FIXED = {  # what an `Autoencoder` is, in diffusers' words
    "_class_name": "AutoencoderKL",
    "act_fn": "silu",
    "mid_block_add_attention": True,
    "use_quant_conv": True,
    "use_post_quant_conv": True,
}
BLOCK = {"norm": "norm1", "conv1": "conv1", "modulation.norm": "norm2", "conv2": "conv2", "shortcut": "conv_shortcut"}
ATTENTION = {"norm": "group_norm", "project": "to_out.0"}
ENDS = {"enter": "conv_in", "leave.0": "conv_norm_out", "leave.2": "conv_out"}
OUTSIDE = {"to_latents": "quant_conv", "from_latents": "post_quant_conv"}


def names(model: Autoencoder) -> Iterator[tuple[str, str]]:
    """Our name of each tensor and diffusers'; of q, k and v, which are one of ours, the name up to them."""
    for name in model.state_dict():
        stem, _, kind = name.rpartition(".")
        if stem in OUTSIDE:
            yield name, f"{OUTSIDE[stem]}.{kind}"
            continue
        tower, _, inner = stem.partition(".")
        way = "down" if tower == "encoder" else "up"
        if inner in ENDS:
            yield name, f"{tower}.{ENDS[inner]}.{kind}"
        elif found := re.fullmatch(r"levels\.(\d+)\.(\d+)\.(.+)", inner):
            yield name, f"{tower}.{way}_blocks.{found[1]}.resnets.{found[2]}.{BLOCK[found[3]]}.{kind}"
        elif found := re.fullmatch(r"between\.(\d+)\.conv", inner):
            yield name, f"{tower}.{way}_blocks.{found[1]}.{way}samplers.0.conv.{kind}"
        elif found := re.fullmatch(r"middle\.1\.(.+)", inner):
            inside = ATTENTION.get(found[1])
            yield name, f"{tower}.mid_block.attentions.0.{f'{inside}.{kind}' if inside else kind}"
        elif found := re.fullmatch(r"middle\.([02])\.(.+)", inner):
            yield name, f"{tower}.mid_block.resnets.{int(found[1]) // 2}.{BLOCK[found[2]]}.{kind}"


def to_diffusers(model: Autoencoder) -> dict[str, Tensor]:
    """The weights by diffusers' names. Raises ValueError for an autoencoder that `AutoencoderKL` cannot be."""
    config_of(model)
    state, theirs = model.state_dict(), {}
    for ours, name in names(model):
        tensor = state[ours].contiguous()
        if ".qkv." in ours:
            place, _, kind = name.rpartition(".")
            for letter, part in zip("qkv", tensor.chunk(3), strict=True):
                theirs[f"{place}.to_{letter}.{kind}"] = part.contiguous()
        else:
            theirs[name] = tensor
    return theirs


def load_weights(model: Autoencoder, theirs: Mapping[str, Tensor]) -> None:
    """Load weights by diffusers' names. Raises ValueError for those that are missing or of another shape."""
    state = {}
    for ours, name in names(model):
        place, _, kind = name.rpartition(".")
        wanted = [f"{place}.to_{letter}.{kind}" for letter in "qkv"] if ".qkv." in ours else [name]
        if absent := [each for each in wanted if each not in theirs]:
            raise ValueError(f"no AutoencoderKL of this size: it has no {absent[0]}")
        tensor = torch.cat([theirs[each] for each in wanted])
        expected = model.state_dict()[ours].shape
        if tensor.numel() != expected.numel():
            raise ValueError(
                f"no AutoencoderKL of this size: {wanted[0]} is {tuple(tensor.shape)}, not {tuple(expected)}"
            )
        state[ours] = tensor.reshape(expected)  # old files have convolutions in place of the attention's linear layers
    model.load_state_dict(state)


def config_of(model: Autoencoder) -> dict[str, Any]:
    """The configuration of an autoencoder in the words of diffusers.

    Raises ValueError for one with classes, or whose normalisations have different numbers of groups.
    """
    groups = {module.num_groups for module in model.modules() if isinstance(module, torch.nn.GroupNorm)}
    if model.classes:
        raise ValueError("AutoencoderKL has no classes: train the autoencoder with backbone.classes=0")
    if len(groups) > 1:
        raise ValueError(
            f"AutoencoderKL has one number of groups, and this autoencoder has {sorted(groups)}: train it with "
            f"backbone.groups=8, or another divisor of all widths"
        )
    channels, height, _ = model.shape
    levels = len(model.widths)
    return {
        **FIXED,
        "in_channels": channels,
        "out_channels": channels,
        "latent_channels": model.latent_shape[0],
        "block_out_channels": [*model.widths],
        "layers_per_block": model.blocks,
        "norm_num_groups": groups.pop(),
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "sample_size": height,
        "scaling_factor": 1.0,
    }


def write(model: Autoencoder, folder: Path) -> Path:
    """Write a folder that `AutoencoderKL.from_pretrained` opens; return it. Raises ValueError as `config_of`."""
    config, weights = config_of(model), to_diffusers(model)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(config, indent=2))
    return folder


def is_folder(folder: Path) -> bool:
    """Whether a folder holds an AutoencoderKL as diffusers writes it."""
    try:
        config = json.loads((folder / CONFIG).read_text())
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("_class_name") == FIXED["_class_name"]


def read(folder: Path, side: int | None = None) -> Autoencoder:
    """The autoencoder of a folder as diffusers writes it, for images of `side` pixels; None: the `sample_size` in it.

    Raises ValueError for a configuration that an `Autoencoder` cannot have, and for weights that do not fit it.
    """
    model = structure(folder, side)
    load_weights(model, load_file(folder / WEIGHTS))
    return model


def structure(folder: Path, side: int | None = None) -> Autoencoder:
    """The same with random weights. Raises ValueError for a configuration that an `Autoencoder` cannot have."""
    config = json.loads((folder / CONFIG).read_text())
    for key, value in FIXED.items():
        if config.get(key, value) != value:
            raise ValueError(f"{folder / CONFIG}: {key}={config[key]} is not supported, only {value}")
    widths: list[int] = config["block_out_channels"]
    side = side or int(config["sample_size"])
    if any(w % widths[0] for w in widths):
        raise ValueError(f"{folder / CONFIG}: block_out_channels={widths} are no multiples of the first")
    return Autoencoder(
        (config["in_channels"], side, side),
        channels=config["latent_channels"],
        width=widths[0],
        multipliers=[w // widths[0] for w in widths],
        blocks=config["layers_per_block"],
        groups=config["norm_num_groups"],
    )
