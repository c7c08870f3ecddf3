"""The networks of a chain's layers: one for all of them, or one each."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn


class Layered(nn.Module):
    """Networks of the layers 1..T: as many as there are layers, or one, which knows the layer by the code alone."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    @property
    def classes(self) -> int:
        """Those of the networks."""
        return cast(int, self.networks[0].classes)

    def forward(self, x: Tensor, layer: Tensor, code: Tensor, label: Tensor) -> Tensor:
        """Samples `(B, *)`, layers `()` or `(B,)`, which are rounded, codes and labels `(B,)` -> `(B, *)`."""
        last = len(self.networks) - 1
        if not last:
            own: Tensor = self.networks[0](x, code, label)
            return own
        which = (layer.round().long() - 1).clamp(0, last).expand(len(x))
        parts = {k: (which == k).nonzero()[:, 0].to(x.device) for k in {*which.tolist()}}
        out = [self.networks[k](x[rows], code[rows], label[rows]) for k, rows in parts.items()]
        return torch.cat(out)[torch.cat([*parts.values()]).argsort()]


@dataclass(frozen=True)
class Shared:
    """One network for all layers."""

    def __call__(self, network: nn.Module, T: int) -> Layered:
        """The network alone."""
        return Layered([network])


@dataclass(frozen=True)
class Separate:
    """A network for each layer, all with the same initial weights."""

    def __call__(self, network: nn.Module, T: int) -> Layered:
        """The network and copies of it, `T` in all."""
        return Layered([network, *(copy.deepcopy(network) for _ in range(T - 1))])


Layers = Callable[[nn.Module, int], Layered]
