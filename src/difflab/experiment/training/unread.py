"""Words that are chosen and that a model has no use for."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from difflab.data.module import DataModule
from difflab.experiment.config.files import groups, path_of
from difflab.experiment.model.conditions import books
from difflab.experiment.parts.identity import RECIPE
from difflab.paradigm.base import Paradigm
from difflab.paradigm.diffusion import Diffusion

CLASSES = "difflab.backbone.Classes"  # the book that every network with classes reads
DRAWING = {*RECIPE} - {"nfe"}  # of models that generate; nfe= may be a word that a script gives to all
SPECIAL = (  # parts of the paradigms that choose one
    *("encoder", "layers", "draws", "residual", "drive", "steps", "distance", "discriminator", "adversary"),
    *("reconstruction", "perceptual"),
)
PARTS = (  # groups that a model reads under their own names, or has no use for
    *("denoiser", "schedule", "target", "times", "weighting", "coupling"),
    *SPECIAL,
)


def check_words(config: Mapping[str, Any], model: Paradigm, data: DataModule) -> None:
    """Raise ValueError for parts of a configuration that its model does not read, with the ones that do."""
    read = {*keys(config["model"])} - ({"times"} if not model.at_times else set())
    unread = {*PARTS} - read | (DRAWING if not isinstance(model, Diffusion) else set())
    paradigm = config["choices"].get("paradigm", type(model).__name__)
    for word in shlex.split(config.get("command", ""))[1:]:
        place = word.partition("=")[0].rpartition("@")[2]  # of GROUP@PLACE=OPTION
        if (key := place.partition(".")[0]) in unread:
            why = f"{word} has no effect: paradigm={paradigm} has no {key}"
            others = [name for name in groups()["paradigm"] if chooses(name, key)] if key in SPECIAL else []
            way = f", or choose paradigm={', '.join(others)}" if others else ""
            parts = ", ".join(part for part in PARTS if part in read)
            raise ValueError(f"{why}; leave it out{way}. {paradigm} reads {parts}")
    book = (config.get("book") or {}).get("_target_", CLASSES)
    if book != CLASSES and model.learned.classes and not [*books(model.learned)]:
        raise ValueError("book= is read by backbone=unet, dit, mlp and mmdit: choose one of them, or leave it out")
    if data.selection and not isinstance(model, Diffusion):
        raise ValueError("data.selection= is for models that generate: leave it out")
    if data.pairs and not (model.couples or model.needs_pairs):
        raise ValueError("pairs straighten a flow: choose paradigm=rectified_flow, flow_matching or ot_flow")


def chooses(paradigm: str, group: str) -> bool:
    """Whether a paradigm's file chooses an option of a group."""
    return f"override /{group}:" in path_of(f"paradigm/{paradigm}").read_text()


def keys(node: object) -> Iterator[str]:
    """The keys of a nested configuration, at any depth."""
    for value in node if isinstance(node, list) else []:
        yield from keys(value)
    for key, value in node.items() if isinstance(node, Mapping) else []:
        yield key
        yield from keys(value)
