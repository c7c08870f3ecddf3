"""Pairs of noise and what a trained flow makes of it, for training on the flow's own coupling."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import cast

from filelock import FileLock
from torch import Tensor

from difflab.data.pairs import save_pairs
from difflab.experiment.config import target
from difflab.experiment.recipe import Trained, balanced
from difflab.experiment.weights import facts_of
from difflab.metric.card import digest
from difflab.paradigm.base import Paradigm
from difflab.process.noise import SampleNoise


def pairs(teacher: Trained, n: int, seed: int, progress: Callable[[int], None] = lambda done: None) -> Path:
    """The file of `n` pairs `(eps, x)` with `x` the end of the teacher's flow from `eps`; drawn where it is not there.

    Liu et al. 2023 (arXiv:2209.03003), Algorithm 1. It holds `x`, `eps: (n, *)` float32 and `y: (n,)` int64.
    """
    identity = [facts_of(teacher.run)["sha256"], teacher.weights, str(teacher.recipe), n, seed]
    path = teacher.run.folder / "pairs" / f"{digest(identity)}.safetensors"
    path.parent.mkdir(exist_ok=True)
    with FileLock(f"{path}.lock"):
        if not path.exists():
            y = balanced(n, teacher.recipe.guided(teacher.denoiser).classes)
            x = teacher.recipe.draw(teacher.denoiser, y, seed, progress=progress).x
            eps = SampleNoise(seed, range(n))(x, 0)
            unfinished = path.with_suffix(".unfinished")
            save_pairs(unfinished, x, eps, y)
            os.replace(unfinished, path)
    return path


def require_pairs(teacher: Trained, n: int, seed: int) -> None:
    """Raise ValueError unless `n` pairs of this seed can be drawn and trained on.

    That is: the teacher is a flow, its sampler draws no noise on the way, and the pairs fill a batch.
    """
    config = teacher.run.config
    paradigm = cast(type[Paradigm], target(config["model"]["_target_"]))
    if not paradigm.couples or not [*teacher.denoiser.parameters()]:
        raise ValueError(
            f"{teacher.run.folder.name} is no flow: pairs straighten rectified_flow, flow_matching or ot_flow"
        )
    if n - n // 10 < config["batch_size"]:
        raise ValueError(
            f"pairs={n}: nine tenths of them are trained on, and must fill a batch of {config['batch_size']}"
        )
    protocol = config["protocol"]
    if seed in range(protocol["seed"], protocol["seed"] + protocol["seeds"]):
        raise ValueError(f"seed={seed} is that of the noise that samples are measured with: choose another")

    def refuse(like: Tensor) -> Tensor:
        raise ValueError(
            f"{teacher.recipe.sampler} draws noise on the way: pairs need the flow alone, "
            f"as sampler=euler, heun, ddim or adaptive follows it"
        )

    teacher.recipe.dry_run(teacher.denoiser, refuse, steps=None)
