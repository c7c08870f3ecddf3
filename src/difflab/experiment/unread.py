"""Words that are chosen and that a model has no use for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from difflab.data.module import DataModule
from difflab.experiment.conditions import books
from difflab.paradigm.base import Paradigm
from difflab.paradigm.diffusion import Diffusion

CLASSES = "difflab.backbone.Classes"  # the book that every network with classes reads


def check_words(config: Mapping[str, Any], model: Paradigm, data: DataModule) -> None:
    """Raise ValueError for parts of a configuration that its model does not read, with the ones that do."""
    if config["draws"] and "draws" not in config["model"]:
        raise ValueError("draws= belongs to DDPM: choose paradigm=ddpm, ddim or improved_ddpm, or leave it out")
    layered = config.get("encoder") or config.get("layers")
    if layered and "encoder" not in config["model"].get("denoiser", {}):
        raise ValueError("encoder= and layers= belong to paradigm=hierarchical_vae: choose it, or leave them out")
    book = (config.get("book") or {}).get("_target_", CLASSES)
    if book != CLASSES and model.learned.classes and not [*books(model.learned)]:
        raise ValueError("book= is read by backbone=unet, dit, mlp and mmdit: choose one of them, or leave it out")
    if data.selection and not isinstance(model, Diffusion):
        raise ValueError("data.selection= is for models that generate: leave it out")
    if data.pairs and not model.couples:
        raise ValueError("pairs straighten a flow: choose paradigm=rectified_flow, flow_matching or ot_flow")
