"""The space that a model works in: that of the data, or the latents of a first stage."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

LIMIT = 5.0  # of whitened latents, in standard deviations
CONTINUOUS = {"_target_": "difflab.data.Arrays"}  # a codec without levels

Compose = Callable[[str, Sequence[str]], Mapping[str, Any]]


def of_space(compose: Compose, key: str, default: object, root: DictConfig) -> object:
    """A fact of the space for `${space:KEY,DEFAULT}`: that of `data`, or of the latents of `first_stage.run`.

    Whitened latents have the standard deviation 1; typical ones of d dimensions lie sqrt(2 d) apart, and the largest
    distance is taken for sqrt(2) times that.
    """
    first = OmegaConf.select(root, "first_stage.run")
    data = root.get("data")
    if first is None or (key == "shape" and data is None):
        return default if data is None or data.get(key) is None else data[key]
    shape = latent_shape(compose, str(first), str(root.runs_dir), tuple(root.data.shape))
    facts: dict[str, object] = {
        "shape": list(shape),
        "sigma_data": 1.0,
        "max_distance": round(2 * math.sqrt(math.prod(shape)), 1),
        "codec": CONTINUOUS,
        "limit": LIMIT,
    }
    return facts[key]


@cache
def latent_shape(compose: Compose, first: str, runs_dir: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the latents of samples of a `shape`, by a first stage: a run, the words of one, or of diffusers.

    Raises ValueError if there is no such run, if it did not finish, or if it has no latents.
    """
    from difflab.backbone import autoencoder_kl  # these load torch
    from difflab.experiment.model.first_stage import checked_stage
    from difflab.experiment.parts.build import build
    from difflab.experiment.store.facts import facts_of
    from difflab.experiment.store.run import find

    if "=" in first and not Path(first, "config.yaml").is_file():
        model = build(compose("train", shlex.split(first))["model"])
        return checked_stage(model.learned, first).latent_shape
    if autoencoder_kl.is_folder(Path(first)):
        return autoencoder_kl.structure(Path(first), shape[-1]).latent_shape
    run = find(Path(runs_dir), first, "first_stage")
    return checked_stage(build(facts_of(run)["module"]), run.folder.name).latent_shape
