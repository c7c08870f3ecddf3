"""Measure generated samples against real ones, beside the floor that real samples reach."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor
from torchmetrics import Metric

from difflab.metric.cache import Cache
from difflab.metric.card import installed_versions
from difflab.metric.distance import thinned
from difflab.metric.features import Extractor, widths
from difflab.metric.sample_size import FEW, Counts


class Split(Protocol):
    """Real samples."""

    @property
    def x(self) -> Tensor:
        """What the data's codec measures: images as bytes (N, C, H, W), or vectors (N, D)."""

    @property
    def sha256(self) -> str:
        """Sum of their bytes."""


def measure(
    extractor: Extractor, fake: Tensor, reference: Split, other: Split, cache: Cache, also: str | None = None
) -> dict[str, float | int]:
    """Each score of generated samples, as the codec measures them, against the reference split, beside its floor.

    `KEY_floor` is the score of as many real samples of the other split: what a perfect generator gets. If that has
    fewer, it is extrapolated, or left out (see `sample_size`). `n`, `n_reference` count the samples, `n_floor` those
    that floors hold for, which are n, and `n_floor_from` those that they come from. With `also`, the name of the other
    split, they are measured against that as well, as `KEY_vs_NAME`, `KEY_vs_NAME_floor`, `n_reference_vs_NAME`, and so
    on. A score that the samples are too few for is left out. Features of real samples and floors are computed once and
    kept in `cache`.
    Raises ValueError for samples whose shape is not that of the real ones.
    """
    for split in (reference, other):
        if fake.shape[1:] != split.x.shape[1:]:
            raise ValueError(
                f"generated samples {tuple(fake.shape)} cannot be measured against real ones {tuple(split.x.shape)}"
            )
    features = extractor(fake)
    generated = [features[score.layer] for score in extractor.scores]
    return compared(extractor, generated, len(fake), reference, other, cache, also)


def keepers(extractor: Extractor, n: int) -> dict[str, Metric]:
    """The metrics that keep what an extractor's scores need of n generated samples, which come in batches."""
    pairs = zip(keeper_names(extractor), extractor.scores, strict=True)
    return {name: score.kept(score.layer, n) for name, score in pairs}


def keeper_names(extractor: Extractor) -> list[str]:
    """The name of each score's among them: scores that need the same of one layer share it."""
    needs = [(score.layer, score.kept) for score in extractor.scores]
    return [f"kept{needs.index(need)}" for need in needs]


def compared(
    extractor: Extractor,
    generated: Sequence[Any],
    n: int,
    reference: Split,
    other: Split,
    cache: Cache,
    also: str | None = None,
) -> dict[str, float | int]:
    """As `measure`, of n samples of which all that each of the extractor's scores needs is known."""
    values = {"n": n} | _against(extractor, generated, n, reference, other, cache, "")
    if also is not None:
        values |= _against(extractor, generated, n, other, reference, cache, f"_vs_{also}")
    return values


def _against(
    extractor: Extractor,
    generated: Sequence[Any],
    n: int,
    reference: Split,
    other: Split,
    cache: Cache,
    suffix: str,
) -> dict[str, float | int]:
    real = real_features(extractor, reference, len(reference.x), cache)
    counts = {"n_reference": len(reference.x), "n_floor": n, "n_floor_from": min(n, len(other.x))}
    values: dict[str, float | int] = {f"{name}{suffix}": count for name, count in counts.items()}
    floors = floor(extractor, reference, other, n, cache)
    for name, value in scores(extractor, generated, real, alone(extractor, reference, real, cache)).items():
        values[f"{name}{suffix}"] = value
        if name in floors:
            values[f"{name}{suffix}_floor"] = floors[name]
    return values


def scores(
    extractor: Extractor,
    generated: Sequence[Any],
    real: dict[str, Tensor],
    numbers: Mapping[tuple[str, ...], float] | None = None,
) -> dict[str, float]:
    """Each score of an extractor by name: `generated` has for each what it compares with the real features.

    `numbers` are those of the real features alone, as far as they are known, by the names of the scores.
    """
    found: dict[str, float] = {}
    for score, known in zip(extractor.scores, generated, strict=True):
        found |= score(known, real, *([numbers[score.names]] if numbers and score.names in numbers else []))
    return found


def alone(extractor: Extractor, split: Split, real: dict[str, Tensor], cache: Cache) -> Mapping[tuple[str, ...], float]:
    """What scores compute of the features of a split alone, by their names; once, if it is kept in `cache`."""
    facts, found = _facts(extractor, split, len(split.x)), {}
    for score in extractor.scores:
        if score.alone:
            compute = partial(number_of, score.alone, real[score.layer])
            kept = cache(f"{extractor.name}-alone", ("alone", score.names, score.layer, *facts), compute)
            found[score.names] = kept["number"].item()
    return found


def number_of(f: Callable[[Tensor], float], features: Tensor) -> dict[str, Tensor]:
    """A number of features as a cache keeps it."""
    return {"number": torch.tensor(f(features), dtype=torch.float64)}


def floor(extractor: Extractor, reference: Split, other: Split, n: int, cache: Cache) -> dict[str, float]:
    """The scores of n samples of the other split, the same ones every time, from the cache if they are there.

    If it has fewer, those that can be extrapolated to n.
    """

    def compute() -> dict[str, Tensor]:
        real = real_features(extractor, reference, len(reference.x), cache)
        features = real_features(extractor, other, n, cache)
        found: dict[str, float] = {}
        for score in extractor.scores:
            found |= score.floor(features, real, n)
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in found.items()}

    names = [name for score in extractor.scores for name in score.names]
    identity = ("floor", n, reference.sha256, names, *_facts(extractor, other, min(n, len(other.x))))
    found = cache(f"{extractor.name}-floor-{n}", identity, compute)
    return {name: found[name].item() for name in names if name in found}


def remarks(
    extractor: Extractor, sample: Tensor, n: int, reference: int, other: int, suffix: str = ""
) -> dict[str, list[str]]:
    """What a reader must know of how many samples there are, by the names of the scores; known from one sample (1, ..).

    Too few generated or reference samples, why a floor is missing or where it comes from, and how many are compared.
    """
    width, few = widths(extractor, sample.dtype, sample.shape), []
    for size, which in ((n, "generated"), (reference, "reference")):
        if size < FEW:
            few.append(f"only {size} {which} samples")
    found: dict[str, list[str]] = {}
    for score in extractor.scores:
        counts = Counts(n, reference, other, width[score.layer])
        if lines := [*few, *score.size.remarks(counts)]:
            found |= {f"{name}{suffix}": lines for name in score.names}
    return found


def real_features(extractor: Extractor, split: Split, n: int, cache: Cache) -> dict[str, Tensor]:
    """Features of n samples of a split, or all, the same ones every time, from the cache if they are there."""
    n = min(n, len(split.x))
    identity = _facts(extractor, split, n)
    return cache(f"{extractor.name}-{n}", identity, lambda: extractor(thinned(split.x, n)))


def _facts(extractor: Extractor, split: Split, n: int) -> tuple[object, ...]:
    """All that the features of n samples of a split depend on."""
    return (split.sha256, n, *split.x.shape, extractor.name, extractor.sha256, extractor.resize, installed_versions())
