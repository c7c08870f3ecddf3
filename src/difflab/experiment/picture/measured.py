"""The pictures of an evaluation: samples, the way to the first of them, and those most like training images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from difflab.data.codec import Codec
from difflab.experiment.picture.points import EXTENT
from difflab.experiment.picture.samples import sample_sheet
from difflab.experiment.picture.sheet import Sheet
from difflab.experiment.picture.tile import tiles

STEPS, FOLLOWED = 12, 4  # times and samples in the picture of the way from noise to data
POINTS = 500  # points in it
SHOWN, UNLABELLED = 2, 16  # samples of each class in the picture of samples; samples in it where there are no classes
PAIRS = 10  # of a generated image and the training image that it is nearest to


class Pairs(NamedTuple):
    """Generated samples and the training samples nearest to them, as they are stored, with the labels of both."""

    generated: Tensor
    training: Tensor
    asked: Tensor
    known: Tensor


def measured_sheets(
    samples: Tensor,
    way: Sequence[Tensor],
    pairs: Pairs | None,
    labels: Tensor,
    names: Sequence[str],
    codec: Codec,
    footer: str,
) -> dict[str, Sheet]:
    """The pictures of an evaluation by their kinds, samples, steps and pairs; without pairs where there are none.

    `samples` are as they are stored, `way` as models see it: see `steps_sheet`. `labels` are those of all
    samples, of which the first are shown.
    """
    title = f"The first {len(samples):,} samples"
    sheets = {
        "samples": sample_sheet(samples, labels[: len(samples)], names, codec, title, footer),
        "steps": steps_sheet(way, labels[: len(way[-1])], names, codec, footer),
    }
    return sheets if pairs is None else {**sheets, "pairs": pairs_sheet(pairs, names, codec, footer)}


def steps_sheet(way: Sequence[Tensor], labels: Tensor, names: Sequence[str], codec: Codec, footer: str) -> Sheet:
    """The estimates of x0 on the way to samples, and at last the samples: a row for each, or one for all points.

    `way` holds them as models see them, in the order in which the denoiser was called. There are always as many
    columns, by which the report's page slides: fewer calls stand in several.
    """
    chosen = torch.linspace(0, len(way) - 1, STEPS).round().int().tolist()
    times = [tiles(codec.decode(way[k]), codec) for k in chosen]
    captions = [f"call {k + 1}" if k < len(way) - 1 else "sample" for k in chosen]
    title = f"Estimates of x0 at the {len(way) - 1} calls of the denoiser"
    rows = [*zip(*times, strict=True)]
    named = [names[k] for k in labels.tolist()] if names and not codec.cloud else []
    return Sheet(rows, [captions], named, title, footer, EXTENT if codec.cloud else None)


def pairs_sheet(pairs: Pairs, names: Sequence[str], codec: Codec, footer: str) -> Sheet:
    """Generated samples over the training samples that they are nearest to, with the names of their classes."""
    rows = [tiles(x, codec) for x in (pairs.generated, pairs.training)]
    captions = [[names[k] for k in labels.tolist()] for labels in (pairs.asked, pairs.known)] if names else ()
    return Sheet(rows, captions, ["generated", "nearest in training"], "Samples most like training samples", footer)
