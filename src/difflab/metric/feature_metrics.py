"""Scores of features as metrics of two sets of samples, in the manner of torchmetrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from difflab.metric.distance import between
from difflab.metric.gather import ON_CPU
from difflab.metric.kept import in_order
from difflab.metric.moments import extended, moments_of

Extract = Callable[[Tensor], Tensor | Mapping[str, Tensor]]
SIDES = ("generated", "real")


class FrechetDistance(Metric):
    """Squared Frechet distance of features, in memory that does not grow with the samples.

        fid = FrechetDistance(Inception())
        for images in real:  # uint8 (N, 3, H, W)
            fid.update(images, real=True)
        for images in generated:
            fid.update(images, real=False)
        fid.compute()  # float64 ()

    - extractor: turns samples into features (N, D), or {layer: (N, D)}; None: the samples are vectors;
    - layer: the one that is read; may be left out if there is no other;
    - settings: those of every `torchmetrics.Metric`.

    The same in any batches and on any number of processes, and right for fewer of them than D: the state of either set
    is a triangle (D + 1, D + 1) and some rows, from which `moments_of` has mean and covariance. See `frechet` for
    formula and sources. Raises ValueError for less than two samples of either set, and for an open choice of layers.
    """

    full_state_update = False
    higher_is_better = False

    def __init__(self, extractor: Extract | None = None, layer: str | None = None, **settings: Any) -> None:  # noqa: ANN401
        super().__init__(**ON_CPU | settings)
        self.extractor, self.layer = extractor, layer
        for side in SIDES:
            self.add_state(side, [], dist_reduce_fx="cat")

    def update(self, samples: Tensor, real: bool) -> None:
        """Take in a batch of real or of generated samples."""
        side = SIDES[real]
        setattr(self, side, extended(getattr(self, side), seen(samples, self.extractor, self.layer)))

    def compute(self) -> Tensor:
        """The distance of all."""
        generated, real = (moments_of(dim_zero_cat(getattr(self, side))) for side in SIDES)
        return torch.tensor(between(generated, real), dtype=torch.float64)


class FeatureMetric(Metric):
    """Any function of two whole sets of features, generated (n, D) and real (m, D): all of them are kept.

        kid = FeatureMetric(kernel, Inception())
        shares = FeatureMetric(comparable_manifold, Inception())  # computes {"precision": .., "recall": .., ..}

    - values: the function, as `kernel`, `energy`, `wasserstein` and `comparable_manifold`, or one of your own: a
      number, several, or several with names;
    - extractor, layer, settings: as of `FrechetDistance`.

    Where the function draws from a larger set, it matters in which order samples stand: by their places `k`, where they
    are given, in any batches and on any number of processes; else in that in which a process saw them.
    """

    full_state_update = False

    def __init__(
        self,
        values: Callable[[Tensor, Tensor], float | Sequence[float]],
        extractor: Extract | None = None,
        layer: str | None = None,
        **settings: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(**ON_CPU | settings)
        self.values, self.extractor, self.layer = values, extractor, layer
        for side in SIDES:
            self.add_state(side, [], dist_reduce_fx="cat")
            self.add_state(f"{side}_k", [], dist_reduce_fx="cat")

    def update(self, samples: Tensor, real: bool, k: Tensor | None = None) -> None:
        """Take in a batch of real or of generated samples, and their places in the set, int64 (N,)."""
        kept, places = (getattr(self, name) for name in (SIDES[real], f"{SIDES[real]}_k"))
        places.append(torch.arange(len(samples)) + sum(map(len, kept)) if k is None else k)
        kept.append(seen(samples, self.extractor, self.layer))

    def compute(self) -> Tensor | dict[str, Tensor]:
        """The values in float64: (), (number,), or () by name."""
        generated, real = (in_order(getattr(self, side), getattr(self, f"{side}_k")) for side in SIDES)
        found = torch.tensor(values := self.values(generated, real), dtype=torch.float64)
        names = getattr(values, "_fields", None)  # of a named tuple
        return dict(zip(names, found.unbind(), strict=True)) if names else found


def seen(samples: Tensor, extractor: Extract | None, layer: str | None) -> Tensor:
    """The features of a batch of samples, (N, D). Raises ValueError if no layer is chosen of several."""
    features = extractor(samples) if extractor else samples
    if isinstance(features, Tensor):
        return features
    (*others, only) = features if layer is None else (layer,)
    if others or only not in features:
        raise ValueError(f"layer={layer!r}: choose one of {', '.join(features)}")
    return features[only]
