"""Scores of generated samples by kind, as by the style that their captions ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torchmetrics import MetricCollection

from difflab.data.images import Split
from difflab.metric.cache import Cache
from difflab.metric.features import Extractor
from difflab.metric.reference import compared, keeper_names, keepers

FEWEST = 2  # samples of a kind that a distance is of


class ByKind:
    """Measures the samples of each kind against the real ones of that kind, as a `Meter` measures all of them.

    `kinds` int64 `(n,)` says which kind each sample is to be of. A kind of fewer than two samples is left out.
    """

    def __init__(self, extractor: Extractor, kinds: Tensor, names: Sequence[str]) -> None:
        self.extractor, self.kinds, self.names = extractor, kinds, names
        self.sizes = kinds.bincount(minlength=len(names)).tolist()
        self.places = torch.empty_like(kinds)  # of each sample among those of its kind
        for kind, size in enumerate(self.sizes):
            self.places[kinds == kind] = torch.arange(size)
        self.metrics = {
            kind: MetricCollection({**keepers(extractor, size)}, compute_groups=False)
            for kind, size in enumerate(self.sizes)
            if size >= FEWEST
        }

    def update(self, features: Mapping[str, Tensor], k: Tensor) -> None:
        """Take in the features of the samples k, int64 (N,), by layer."""
        for kind, metrics in self.metrics.items():
            rows = (self.kinds[k] == kind).nonzero().flatten()
            if len(rows):
                metrics.update(seen={layer: each[rows] for layer, each in features.items()}, k=self.places[k[rows]])

    def compute(
        self, reference: Split, other: Split, kind_of: Callable[[Tensor], Tensor], cache: Cache
    ) -> dict[str, dict[str, float]]:
        """Each score beside its floor by the names of the kinds; `kind_of` gives those of real labels."""
        found = {}
        for kind, metrics in self.metrics.items():
            main, second = (chosen(split, kind_of(split.y) == kind) for split in (reference, other))
            kept = metrics.compute()
            values = [kept[name] for name in keeper_names(self.extractor)]
            found[self.names[kind]] = dict(compared(self.extractor, values, self.sizes[kind], main, second, cache))
        return found


def chosen(split: Split, rows: Tensor) -> Split:
    """The samples of a split that are chosen, bool `(N,)`."""
    return Split(split.x[rows], split.y[rows])
