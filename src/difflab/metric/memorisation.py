"""Whether generated samples are copies of training samples."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from difflab.metric.cache import Cache, uncached
from difflab.metric.card import installed_versions
from difflab.metric.distance import squared_distances, thinned
from difflab.metric.gather import ON_CPU
from difflab.metric.kept import in_order
from difflab.metric.reference import Split

NEIGHBOURS = 10
RARE = 0.01  # the share of held-out samples that may pass for copies
BLOCK = 2048  # rows and columns of a distance matrix held at once


class Memorisation(NamedTuple):
    """`scores` by name, and of each generated sample its nearest training sample and how much nearer that is."""

    scores: dict[str, float]
    closeness: Tensor  # (n,): 0 is a copy, 1 is as near as to the next ones
    neighbour: Tensor  # (n,): indices of training samples

    def pairs(self, count: int) -> tuple[Tensor, Tensor]:
        """Indices of the generated samples that are most like copies, and of their training samples, likest first."""
        likest = self.closeness.argsort(stable=True)[:count]
        return likest, self.neighbour[likest]


def memorisation(generated: Tensor, train: Split, held_out: Split, cache: Cache) -> Memorisation:
    """Compare generated samples, as the codec measures them, with their nearest training samples by Euclidean distance.

    A sample's closeness is its distance to the nearest training sample over the mean of those to the 10 nearest: a
    ratio, because by distance alone simple samples, which lie near many others, pass for copies, and noisy copies of
    intricate ones do not. `copies` is the share of generated samples that are closer than all but 1 % of held-out ones
    are; `copies_floor` is that share of the held-out ones: 0.01, or more where these are few or have exact duplicates.
    `nn_gap` is the mean distance to the nearest training sample less that to the nearest held-out one, over the mean
    of the two, for splits cut to one size: -0.1 where training samples are 10 % nearer, near 0 for a generator that
    copies none, from -2 to 2.

    Copies that are moved, mirrored or recoloured are not seen. What held-out samples say is kept in `cache`.
    Raises ValueError for samples whose shape is not that of the real ones, and for splits of less than two.
    Carlini et al. 2023 (arXiv:2301.13188), section 5, with 50 neighbours and a threshold set by eye.
    """
    usual = calibration(train, held_out, cache)
    return summary(neighbours(generated, train, held_out), usual)


class Neighbours(NamedTuple):
    """Of each generated sample (n,)."""

    closeness: Tensor
    neighbour: Tensor  # the index of the nearest training sample
    to_known: Tensor  # distance to the nearest training sample, of as many as there are held-out ones
    to_unknown: Tensor  # distance to the nearest held-out sample, of as many as there are training ones


def neighbours(generated: Tensor, train: Split, held_out: Split) -> Neighbours:
    """Where generated samples lie among training samples and held-out ones. Raises ValueError as `memorisation`."""
    x, known, unknown = (samples.flatten(1) for samples in (generated, train.x, held_out.x))
    if not generated.shape[1:] == train.x.shape[1:] == held_out.x.shape[1:]:
        shapes = ", ".join(str(tuple(samples.shape)) for samples in (generated, train.x, held_out.x))
        raise ValueError(f"generated, training and held-out samples must have one shape: these are {shapes}")
    if min(len(known), len(unknown)) < 2:
        raise ValueError(f"{len(known)} training and {len(unknown)} held-out samples are too few to tell copies by")
    n = min(len(known), len(unknown))
    some = torch.zeros(len(known), dtype=torch.bool)
    some[thinned(torch.arange(len(known)), n)] = True
    near, neighbour, to_known = closeness(x, known, some)
    return Neighbours(near, neighbour, to_known, nearest(x, thinned(unknown, n), 1)[0][:, 0])


def summary(found: Neighbours, usual: dict[str, Tensor]) -> Memorisation:
    """The scores of all samples by what is `usual` of held-out ones, as `calibration` says."""
    to_known, to_unknown = found.to_known.mean(), found.to_unknown.mean()
    scores = {
        "copies": (found.closeness <= usual["threshold"]).double().mean().item(),
        "copies_floor": usual["floor"].item(),
        "nn_gap": (2 * (to_known - to_unknown) / (to_known + to_unknown)).nan_to_num(0).item(),
    }
    return Memorisation(scores, found.closeness, found.neighbour)


class Copies(Metric):
    """`memorisation` of samples that come in batches, in any order, on one process or several.

    Four numbers are kept of a sample. Its place k in the whole set is what `Memorisation.pairs` knows it by.
    """

    full_state_update = False
    k: list[Tensor]

    def __init__(self, train: Split, held_out: Split, cache: Cache = uncached, **settings: Any) -> None:  # noqa: ANN401
        super().__init__(**ON_CPU | settings)
        self.train_split, self.held_out = train, held_out
        self.usual = calibration(train, held_out, cache)
        for name in (*Neighbours._fields, "k"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, samples: Tensor, k: Tensor) -> None:
        """Take in the samples k, as the codec measures them."""
        self.k.append(k)
        for name, value in neighbours(samples, self.train_split, self.held_out)._asdict().items():
            getattr(self, name).append(value)

    def compute(self) -> Memorisation:
        """What is found of all, in the order of k."""
        return summary(Neighbours(*(in_order(getattr(self, name), self.k) for name in Neighbours._fields)), self.usual)


def calibration(train: Split, held_out: Split, cache: Cache) -> dict[str, Tensor]:
    """The `threshold` of closeness below which a sample passes for a copy, and the `floor`, from `cache` if there."""

    def calibrate() -> dict[str, Tensor]:
        usual, *_ = closeness(held_out.x.flatten(1), train.x.flatten(1))
        threshold = usual.quantile(RARE)
        return {"threshold": threshold, "floor": (usual <= threshold).double().mean()}

    identity = ("copies by differences", train.sha256, held_out.sha256, NEIGHBOURS, RARE, installed_versions())
    return cache("copies", identity, calibrate)


def closeness(x: Tensor, known: Tensor, some: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Of each row of x, the closeness to its nearest row of `known`, its index, and the distance to `some` rows."""
    some = torch.ones(len(known), dtype=torch.bool) if some is None else some
    far, index, of_some = searched(x, known, min(NEIGHBOURS, len(known)), some)
    # 0 / 0: all its neighbours are duplicates of it
    return (far[:, 0] / far.mean(1)).nan_to_num(0), index[:, 0], of_some


def nearest(x: Tensor, known: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k nearest rows of `known` (m, D) to each row of x (n, D), nearest first: distances and indices, (n, k)."""
    return searched(x, known, k, torch.zeros(len(known), dtype=torch.bool))[:2]


def searched(x: Tensor, known: Tensor, k: int, some: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """As `nearest`, and (n,) the distance to the nearest of `some` rows, bool (m,)."""
    found = [_nearest(rows, known, k, some) for rows in torch.split(x, BLOCK)]
    distances, indices, of_some = (torch.cat(part) for part in zip(*found, strict=True))
    return distances, indices, of_some


def _nearest(rows: Tensor, known: Tensor, k: int, some: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    rows = rows.double()
    best, of_some = rows.new_full((len(rows), k), torch.inf), rows.new_full((len(rows),), torch.inf)
    index = torch.zeros(len(rows), k, dtype=torch.long)
    for start in range(0, len(known), BLOCK):
        far = squared_distances(rows, known[start : start + BLOCK].double())
        if (here := some[start : start + BLOCK]).any():
            of_some = torch.minimum(of_some, far[:, here].amin(1))
        place = torch.arange(start, start + far.shape[1]).expand_as(far)
        best, chosen = torch.cat((best, far), 1).topk(k, largest=False)
        index = torch.cat((index, place), 1).gather(1, chosen)
    for j, chosen in enumerate(index.T):  # a distance by products is rounding where it should be 0
        best[:, j] = (rows - known[chosen].double()).square().sum(1)
    return best.sqrt(), index, of_some.sqrt()
