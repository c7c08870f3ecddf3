"""How well a first stage reconstructs, by the metrics that measure samples."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from difflab.experiment.evaluation.protocol import Protocol
from difflab.experiment.model.first_stage import WHITENINGS, data_module
from difflab.experiment.store.facts import facts_of
from difflab.experiment.store.run import Run
from difflab.experiment.store.tensor_cache import TensorCache


def reconstruction_scores(config: Mapping[str, Any], run: Run, device: torch.device) -> dict[str, float]:
    """What the held-out samples get once a run has encoded and decoded them, each score beside its floor.

    As the protocol of the configuration measures; empty where it measures nothing, and for a conditional first stage.
    """
    protocol = Protocol.of(config["protocol"], device, config["runs_dir"])
    if not protocol.n or facts_of(run)["module"]["backbone"].get("classes"):
        return {}
    own = {"run": str(run.folder), "ema": None, "whitening": WHITENINGS[0]}
    data, cache = data_module({**config, "first_stage": own}, device), TensorCache(Path(config["runs_dir"]) / ".cache")
    floors = {f"{name}_floor": value for name, value in protocol.floors(data, cache).items()}
    scores = protocol.reconstruction(data, cache)
    return {name.removesuffix("_reconstruction"): value for name, value in scores.items()} | floors
