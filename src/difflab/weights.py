"""Trained weights as they are exchanged: safetensors, and JSON that says how to build their denoiser."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from difflab.config import build, suggestion
from difflab.denoiser import AnyDenoiser
from difflab.run import Run, write_json

FORMAT = 2


def save_weights(
    run: Run,
    denoiser_config: Mapping[str, Any],
    averages: Mapping[float, Mapping[str, Tensor]],
    training: Mapping[str, float],
) -> None:
    """Write the denoiser's averaged weights, a set for each decay, and then the JSON that vouches for them.

    `training` is what these weights cost: images seen, seconds.
    """
    tensors = {f"{decay}/{k}": v.contiguous().cpu() for decay, state in averages.items() for k, v in state.items()}
    data = save(tensors)
    unfinished = run.weights.with_suffix(".unfinished")
    unfinished.write_bytes(data)
    os.replace(unfinished, run.weights)
    write_json(
        run.facts,
        {
            "format": FORMAT,
            "sha256": hashlib.sha256(data).hexdigest(),
            "ema": list(averages),
            "training": training,
            "denoiser": denoiser_config,
        },
    )


def facts_of(run: Run) -> dict[str, Any]:
    """What `weights.json` says. Raises ValueError if there is none yet, or one of another format."""
    if not run.facts.exists():
        raise ValueError(f"{run.folder} has no weights yet: its training did not finish; the same command goes on")
    facts: dict[str, Any] = json.loads(run.facts.read_text())
    if facts.get("format") != FORMAT:
        raise ValueError(f"{run.facts} is of format {facts.get('format')}; this difflab reads format {FORMAT}")
    return facts


def load_denoiser(run: Run, ema: float | None = None, device: torch.device | str = "cpu") -> tuple[AnyDenoiser, str]:
    """The denoiser of a run with the weights of one decay, by default the first; and the name of these weights.

    Builds difflab's own classes only, and reads tensors only. Raises ValueError if the run has no weights yet, if they
    are damaged, or if it has no such decay.
    """
    facts = facts_of(run)
    data = run.weights.read_bytes()
    if hashlib.sha256(data).hexdigest() != facts["sha256"]:
        raise ValueError(f"{run.weights} is damaged: its sha256 is not the one in weights.json")
    decay = facts["ema"][0] if ema is None else ema
    if decay not in facts["ema"]:
        raise ValueError(f"ema={decay} is not in {run.folder}; {suggestion(str(decay), [*map(str, facts['ema'])])}")
    prefix = f"{decay}/"
    state = {k.removeprefix(prefix): v for k, v in load(data).items() if k.startswith(prefix)}
    denoiser: AnyDenoiser = build(facts["denoiser"])
    try:
        denoiser.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(
            f"{run.weights} is not of the network that weights.json says: another difflab made it"
        ) from error
    return denoiser.to(device).eval().requires_grad_(False), f"ema={decay}"


def start_from(run: Run, denoiser: AnyDenoiser) -> str:
    """Load the averaged weights of a run into a denoiser; their sha256.

    Raises ValueError if the run has no weights, or those of another network.
    """
    trained, _ = load_denoiser(run)
    try:
        denoiser.load_state_dict(trained.state_dict())
    except RuntimeError as error:
        raise ValueError(f"init={run.folder}: its weights are of another network than this one") from error
    sha256: str = facts_of(run)["sha256"]
    return sha256
