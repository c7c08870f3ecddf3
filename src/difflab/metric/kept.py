"""Features that are kept as they are, for scores that need all of them."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from difflab.metric.gather import ON_CPU


def in_order(x: Tensor | list[Tensor], k: Tensor | list[Tensor]) -> Tensor:
    """Rows of samples in the order of their places k, whichever batch and process they came in; on the CPU."""
    return dim_zero_cat(x)[dim_zero_cat(k).argsort(stable=True)].cpu()


class Features(Metric):
    """All features of one layer of n generated samples: `compute` gives them in the order of the samples, (n, D)."""

    full_state_update = False
    features: list[Tensor]
    k: list[Tensor]

    def __init__(self, layer: str, n: int) -> None:
        super().__init__(**ON_CPU, compute_with_cache=False)  # of so many features no second copy
        self.layer = layer
        self.add_state("features", [], dist_reduce_fx="cat")
        self.add_state("k", [], dist_reduce_fx="cat")

    def update(self, seen: Mapping[str, Tensor], k: Tensor) -> None:
        """Take in the features of the samples k."""
        self.features.append(seen[self.layer])
        self.k.append(k)

    def compute(self) -> Tensor:
        """Those of all samples."""
        return in_order(self.features, self.k)
