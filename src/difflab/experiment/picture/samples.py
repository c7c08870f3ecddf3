"""The sheet of many samples, and what a footer says of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from difflab.data.codec import Codec
from difflab.experiment.parts.identity import line
from difflab.experiment.picture.points import EXTENT
from difflab.experiment.picture.sheet import Sheet
from difflab.experiment.picture.tile import rows_of, tiles
from difflab.experiment.sampling.recipe import Recipe
from difflab.guidance.base import Unguided

SIDE = 400  # pixels of a density that stands alone
SEPARATOR = "\N{NO-BREAK SPACE}· "  # never at the beginning of a line
WIDEST = 20  # columns, at most, where each class has its own


def sample_sheet(
    samples: Tensor, labels: Tensor, names: Sequence[str], codec: Codec, title: str = "", footer: str = ""
) -> Sheet:
    """Stored samples `(N, *shape)`, with the names of their classes; or a cloud of points as its density.

    Where the labels are 0, 1, .. in turn, each column is of one class, whose name stands above. For other labels each
    tile has the name of its class above it. The sheet is about square, unless it needs more columns than that.
    """
    if codec.cloud:
        return Sheet([tiles(samples, codec, SIDE)], title=title, footer=footer, extent=EXTENT)
    every = tiles(samples, codec)
    columns, classes = square(len(every), *every[0].size), len(names)
    captions = [names[k] for k in labels.tolist()] if names else []
    if captions and classes <= WIDEST and captions == [names[k % classes] for k in range(len(captions))]:
        columns = min(len(every), classes * max(1, round(columns / classes)))
        captions = captions[:columns]
    return Sheet(rows_of(every, columns), rows_of(captions, columns), title=title, footer=footer)


def square(n: int, width: int, height: int) -> int:
    """The columns with which `n` tiles of this size make a sheet that is about square."""
    return min(n, max(1, math.ceil(math.sqrt(n * height / width))))


def class_names(names: Sequence[str], classes: int) -> Sequence[str]:
    """A name for each class that a denoiser knows: those of the data, or numbers where the data have others."""
    return names if len(names) == classes else [f"class {k}" for k in range(classes)]


def footer(run: str, recipe: Recipe, nfe: float, seed: int, *more: str) -> str:
    """How samples were drawn: run, sampler, counted network evaluations, guidance and range, seed, and more."""
    guidance = [part for part in recipe.guidance.parts if part != Unguided()]
    facts = {
        "run": run,
        "sampler": short(recipe.sampler),
        "NFE": f"{nfe:g}",
        "guidance": ", ".join(map(short, guidance)) or "none",
        "range": "none" if recipe.range == Unguided() else short(recipe.range),
        "seed": str(seed),
    }
    return SEPARATOR.join([*(f"{key} {value}" for key, value in facts.items()), *more])


def short(part: object) -> str:
    """A part with its arguments: `DDIM(eta=0.0)`; without brackets where it has none: `Heun`."""
    return line(part).removesuffix("()")
