"""The model of a training with its initial weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch

from difflab.experiment.parts.build import build
from difflab.experiment.parts.sizes import bounded
from difflab.paradigm.base import Paradigm


def initial_model(config: Mapping[str, Any]) -> Paradigm:
    """The model of a plain configuration. Dry runs of equal models share one: they train nothing.

    Raises ValueError for what cannot be built, and for networks that do not fit into memory.
    """
    make = shared if config.get("dry_run") else built
    return make(json.dumps(config["model"]), config["seed"])


def built(words: str, seed: int) -> Paradigm:
    """A model of words in JSON."""
    torch.manual_seed(seed)
    with bounded("the networks of paradigm= and backbone="):
        model: Paradigm = build(json.loads(words))
    return model


shared = lru_cache(maxsize=64)(built)
