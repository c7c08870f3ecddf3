"""Sampling times that are found for a run and a sampler: once, and by what its images are measured with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from difflab.backbone.book import DataBook
from difflab.data.module import DataModule
from difflab.denoiser.base import AnyDenoiser
from difflab.experiment.machine.hardware import autocast
from difflab.experiment.parts.build import build
from difflab.experiment.parts.identity import identity, line
from difflab.experiment.store.tensor_cache import content_sha256
from difflab.experiment.store.weights import sha256_of
from difflab.metric.cache import Cache, uncached
from difflab.metric.distance import frechet
from difflab.metric.features import Extractor
from difflab.sampler.base import Sampler
from difflab.sampler.distance import Distance, rms_distance
from difflab.sampler.grid import Grid


@dataclass(frozen=True)
class Seen:
    """The distance of generated samples as they are measured: Frechet's, in the features of a run's extractor.

    The features are those of its first score. Samples that are no images have the root mean square distance.
    """

    protocol: Mapping[str, Any]
    data: DataModule

    @cached_property
    def extractor(self) -> Extractor:
        """The run's own, on the CPU."""
        extractor: Extractor = build(self.protocol["extractor"])
        return extractor

    @property
    def images(self) -> bool:
        """Whether the samples are images."""
        return self.data.codec.mirrors

    @property
    def name(self) -> str:
        """What decides the distance."""
        return f"{self.extractor.name} {self.extractor.sha256}" if self.images else "rms"

    def features(self, x: Tensor) -> Tensor:
        """Of samples in the model's range."""
        codec = self.data.codec
        return self.extractor(codec.measure(codec.decode(x)))[self.extractor.scores[0].layer]

    def __call__(self, x: Tensor, y: Tensor) -> float:
        """The distance of two sets of samples in the model's range."""
        return frechet(self.features(x), self.features(y)) if self.images else rms_distance(x, y)


@dataclass(frozen=True)
class FoundTimes:
    """How the times of a grid that `finds` them are found, and where they are kept."""

    cache: Cache = uncached
    seen: Seen | None = None

    def __call__(
        self, grid: Grid, denoiser: AnyDenoiser, sampler: Sampler, times: Tensor, precision: str, about: object
    ) -> Tensor:
        """As many times as the given ones, which are the grid's, for a denoiser; `about` are its guidance and path."""
        distance: Distance = self.seen or rms_distance
        named = self.seen.name if self.seen else "rms"

        def found() -> dict[str, Tensor]:
            print(f"finding {len(times) - 1} times for {line(sampler)}, once", flush=True)
            with autocast(denoiser.device, precision):
                return {"times": grid.fit(denoiser, sampler, times, distance)}

        parts = [repr(identity(part)) for part in (grid, sampler, about)]  # of extensions with their sources
        known = [sha256_of(denoiser), *parts, times.tolist(), precision, named, *beside_weights(denoiser)]
        return self.cache("times", known, found)["times"]


def beside_weights(module: nn.Module) -> list[object]:
    """What the weights of a module leave out, by content: entries of books, as prompts, and data of closed forms."""
    weights = module.state_dict()
    others = {name: buffer for name, buffer in module.named_buffers() if name not in weights}
    own_nulls = [each.own_null for each in module.modules() if isinstance(each, DataBook)]
    return [content_sha256(others), own_nulls] if others else []
