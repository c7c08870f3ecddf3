"""Measure generated samples against real ones, beside the floor that real samples reach."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Protocol

import torch
from filelock import FileLock
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from difflab.metric.features import Extractor


class Split(Protocol):
    """Real samples."""

    @property
    def x(self) -> Tensor:
        """Images as bytes (N, C, H, W), or points (N, 2)."""

    @property
    def sha256(self) -> str:
        """Sum of their bytes."""


def measure(
    extractor: Extractor, fake: Tensor, reference: Split, other: Split, cache: str | Path
) -> dict[str, float | int]:
    """Each score of generated samples, as stored, against the reference split, beside its floor.

    `KEY_floor` is the score of N real samples of the other split (all, if it has fewer): what a perfect generator gets.
    `n`, `n_reference`, `n_floor` count the samples. The features of real ones are computed once and kept in `cache`.
    Raises ValueError for samples whose shape is not that of the real ones.
    """
    for split in (reference, other):
        if fake.shape[1:] != split.x.shape[1:]:
            raise ValueError(
                f"generated samples {tuple(fake.shape)} cannot be measured against real ones {tuple(split.x.shape)}"
            )
    n_floor = min(len(fake), len(other.x))
    real = real_features(extractor, reference, len(reference.x), cache)
    held_out = real_features(extractor, other, n_floor, cache)
    generated = extractor(fake)
    values: dict[str, float | int] = {"n": len(fake), "n_reference": len(reference.x), "n_floor": n_floor}
    for key, (layer, distance) in extractor.scores.items():
        values[key] = distance(generated[layer], real[layer])
        values[f"{key}_floor"] = distance(held_out[layer], real[layer])
    return values


def real_features(extractor: Extractor, split: Split, n: int, cache: str | Path) -> dict[str, Tensor]:
    """Features of n samples of a split, the same ones every time, from the cache folder if they are there.

    Several processes may ask at once: one computes, the others wait. A damaged file is replaced.
    """
    identity = (split.sha256, n, *split.x.shape, extractor.name, extractor.sha256, extractor.resize)
    digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
    path = Path(cache) / f"{extractor.name}-{n}-{digest[:16]}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        try:
            return load_file(path)
        except (FileNotFoundError, SafetensorError):
            features = extractor(_choose(split.x, n))
            partial = path.with_suffix(".partial")
            save_file(features, partial)
            os.replace(partial, path)
            return features


def _choose(x: Tensor, n: int) -> Tensor:
    """All samples, or n fixed ones at random: a split may be sorted by class."""
    if n == len(x):
        return x
    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:n]]
