"""Whether generated samples are copies of training samples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from difflab.metric.cache import Cache
from difflab.metric.card import installed_versions
from difflab.metric.distance import squared_distances, thinned
from difflab.metric.reference import Split

NEIGHBOURS = 10
RARE = 0.01  # the share of held-out samples that may pass for copies
BLOCK = 2048  # rows and columns of a distance matrix held at once


@dataclass(frozen=True, eq=False)
class Memorisation:
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
    are; `copies_floor` is that share of the held-out ones: 0.01, or more where the splits have exact duplicates.
    `nn_gap` is the mean distance to the nearest training sample less that to the nearest held-out one, over the mean
    of the two, for splits cut to one size: -0.1 where training samples are 10 % nearer, near 0 for a generator that
    copies none, from -2 to 2.

    Copies that are moved, mirrored or recoloured are not seen. What held-out samples say is kept in `cache`.
    Raises ValueError for samples whose shape is not that of the real ones, and for splits of less than two.
    Carlini et al. 2023 (arXiv:2301.13188), section 5, with 50 neighbours and a threshold set by eye.
    """
    x, known, unknown = (samples.flatten(1) for samples in (generated, train.x, held_out.x))
    if not generated.shape[1:] == train.x.shape[1:] == held_out.x.shape[1:]:
        shapes = ", ".join(str(tuple(samples.shape)) for samples in (generated, train.x, held_out.x))
        raise ValueError(f"generated, training and held-out samples must have one shape: these are {shapes}")
    if min(len(known), len(unknown)) < 2:
        raise ValueError(f"{len(known)} training and {len(unknown)} held-out samples are too few to tell copies by")

    usual = calibration(train, held_out, cache)
    close, neighbour = closeness(x, known)
    n = min(len(known), len(unknown))
    to_known, to_unknown = (nearest(x, thinned(split, n), 1)[0].mean() for split in (known, unknown))
    found = {
        "copies": (close <= usual["threshold"]).double().mean().item(),
        "copies_floor": usual["floor"].item(),
        "nn_gap": (2 * (to_known - to_unknown) / (to_known + to_unknown)).nan_to_num(0).item(),
    }
    return Memorisation(found, close, neighbour)


def calibration(train: Split, held_out: Split, cache: Cache) -> dict[str, Tensor]:
    """The `threshold` of closeness below which a sample passes for a copy, and the `floor`, from `cache` if there."""

    def calibrate() -> dict[str, Tensor]:
        usual, _ = closeness(held_out.x.flatten(1), train.x.flatten(1))
        threshold = usual.quantile(RARE)
        return {"threshold": threshold, "floor": (usual <= threshold).double().mean()}

    identity = ("copies", train.sha256, held_out.sha256, NEIGHBOURS, RARE, installed_versions())
    return cache("copies", identity, calibrate)


def closeness(x: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Of each row of x, the closeness to its nearest row of `known`, and the index of that."""
    far, index = nearest(x, known, min(NEIGHBOURS, len(known)))
    return (far[:, 0] / far.mean(1)).nan_to_num(0), index[:, 0]  # 0 / 0: all its neighbours are duplicates of it


def nearest(x: Tensor, known: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k nearest rows of `known` (m, D) to each row of x (n, D), nearest first: distances and indices, (n, k)."""
    distances, indices = zip(*(_nearest(rows, known, k) for rows in torch.split(x, BLOCK)), strict=True)
    return torch.cat(distances), torch.cat(indices)


def _nearest(rows: Tensor, known: Tensor, k: int) -> tuple[Tensor, Tensor]:
    rows = rows.double()
    best = rows.new_full((len(rows), k), torch.inf)
    index = torch.zeros(len(rows), k, dtype=torch.long)
    for start in range(0, len(known), BLOCK):
        far = squared_distances(rows, known[start : start + BLOCK].double())
        place = torch.arange(start, start + far.shape[1]).expand_as(far)
        best, chosen = torch.cat((best, far), 1).topk(k, largest=False)
        index = torch.cat((index, place), 1).gather(1, chosen)
    return best.sqrt(), index
