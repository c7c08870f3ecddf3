"""Weights of our layers under the names of diffusers'."""


def both(weights, ours, theirs):
    """Weight and bias, where there is one, under another name."""
    return {f"{theirs}.{k}": weights[f"{ours}.{k}"] for k in ("weight", "bias") if f"{ours}.{k}" in weights}


def split(weights, ours, *theirs):
    """Weight and bias of a layer that is several of theirs, side by side."""
    found = {}
    for key, value in both(weights, ours, "").items():
        found |= {f"{name}{key}": part for name, part in zip(theirs, value.chunk(len(theirs)), strict=True)}
    return found
