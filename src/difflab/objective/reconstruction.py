"""How far a decoded sample is from the one that was encoded: by its numbers, and by what a network sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class Reconstruction(Protocol):
    """A distance between samples."""

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """A mean over the dimensions of samples `(B, *)`; shape `(B,)`."""


@dataclass(frozen=True)
class L1:
    """`|x - y|`. Rombach et al. 2022 (arXiv:2112.10752), whose code sums over dimensions."""

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """The mean over dimensions; shape `(B,)`."""
        return (x - y).abs().flatten(1).mean(1)


@dataclass(frozen=True)
class L2:
    """`(x - y)^2`."""

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """The mean over dimensions; shape `(B,)`."""
        return (x - y).square().flatten(1).mean(1)


class Maps(Protocol):
    """A frozen network that samples are compared by. Gradients pass through it to the samples."""

    def __call__(self, x: Tensor) -> Sequence[Tensor]:
        """Its feature maps `(B, C_l, H_l, W_l)` of images `(B, C, H, W)` in [-1, 1], one for each layer."""


def perceptual(maps: Maps, x: Tensor, y: Tensor) -> Tensor:
    """`mean_l mean_hw |x_l / |x_l| - y_l / |y_l||^2`, with norms over the channels of a map at a place; shape `(B,)`.

    Zhang et al. 2018 (arXiv:1801.03924), eq. 1 with all weights 1, and the mean over layers in place of the sum: no
    weights are learned from human judgements, so that values are not those of LPIPS. The samples `x` have the
    gradient; `y` has none.
    """
    with torch.no_grad():
        seen = [F.normalize(each, dim=1) for each in maps(y)]
    apart = [(F.normalize(ours, dim=1) - theirs) ** 2 for ours, theirs in zip(maps(x), seen, strict=True)]
    return torch.stack([each.sum(1).flatten(1).mean(1) for each in apart]).mean(0)
