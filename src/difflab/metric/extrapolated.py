"""The Frechet distance without the bias that comes of generating too few samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from difflab.metric.distance import between, checked
from difflab.metric.gather import ON_CPU
from difflab.metric.moments import Moments, extended, moments, moments_of
from difflab.metric.sample_size import FEWEST


class Parts(NamedTuple):
    """Of n vectors, the rows (1, x), or triangles that stand for them (see `moments`): of two halves, and the rest."""

    first: Tensor
    second: Tensor
    rest: Tensor  # one vector of an odd number


def frechet_and_limit(generated: Tensor | Parts, real: Tensor) -> tuple[float, float]:
    """The squared Frechet distance of n generated vectors, and its limit for n to infinity.

    The distance falls towards the limit like 1/n, so that both follow from the whole set and its two halves, whose
    distances d(n / 2) are averaged: `limit = 2 d(n) - d(n / 2)`, or what that is for odd n. Halves are drawn at random,
    the same ones every time. More and smaller parts would add bias and no certainty: the halves hold all samples.

    Shapes (n, D), (m, D). The bias of a finite m stays, and the limit may come out below 0. It is nan for n < 4 D,
    where the halves are too small for the law: at n = 4 D of Gaussians up to a tenth too much of the bias is taken off.
    Raises ValueError for sets of less than two vectors or of unlike D.
    Chong & Forsyth 2020 (arXiv:1911.07023), who fit a line through 15 sizes.
    """
    of: Callable[[Tensor], Moments]
    sets: tuple[Tensor, ...]
    if isinstance(generated, Parts):
        rows, of = torch.cat(generated), moments_of
        n, sets = round(rows[:, 0].square().sum().item()), (rows, generated.first, generated.second)
        _, real = checked(rows[:, 1:], real)
    else:
        generated, real = checked(generated, real)
        n, of = len(generated), moments
        sets = (generated, *(generated[half] for half in halves(n)))
    target = moments(real)
    whole, *parts = [between(of(each), target) for each in sets[: 3 if n >= FEWEST * real.shape[1] else 1]]
    if not parts:
        return whole, math.nan
    return whole, (n * whole - n // 2 * sum(parts) / 2) / (n - n // 2)


def halves(n: int) -> tuple[Tensor, Tensor]:
    """Which of n samples are in either half; of an odd number one is in none."""
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    return order[: n // 2], order[n - n // 2 :]


class Halves(Metric):
    """What `frechet_and_limit` needs of one layer's features of n generated samples, in memory that n does not change.

    As sample k belongs to its half by k and n, batches may come in any order, and from any process.
    """

    full_state_update = False

    def __init__(self, layer: str, n: int) -> None:
        super().__init__(**ON_CPU)
        self.layer = layer
        self.part = torch.full((n,), Parts._fields.index("rest"))
        for i, half in enumerate(halves(n)):
            self.part[half] = i
        for name in Parts._fields:
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, seen: Mapping[str, Tensor], k: Tensor) -> None:
        """Take in the features (N, D) of the samples k."""
        for i, name in enumerate(Parts._fields):
            setattr(self, name, extended(getattr(self, name), seen[self.layer][self.part[k.cpu()] == i]))

    def compute(self) -> Parts:
        """The triangles of all."""
        return Parts(*(dim_zero_cat(getattr(self, name)) for name in Parts._fields))
