"""Tiles: one small image for each sample, or one for all points of a cloud."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from PIL import Image

from difflab.experiment.picture.points import scatter

if TYPE_CHECKING:
    from torch import Tensor

    from difflab.data.codec import Codec

MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # Pillow's words, by channels
CLOUD = 160  # pixels a side of a tile of points

T = TypeVar("T")


def tiles(samples: Tensor, codec: Codec, side: int = CLOUD) -> list[Image.Image]:
    """A tile for each stored sample `(N, *shape)`; or one tile of `side` pixels, the density of a cloud of points."""
    shown = codec.show(samples)
    return [scatter(shown, side)] if codec.cloud else [tile(image) for image in shown]


def tile(image: Tensor) -> Image.Image:
    """One uint8 image `(C, H, W)`, pixel for pixel; where C is no colour space, the channels side by side in grey."""
    if len(image) not in MODES:
        image = image.permute(1, 0, 2).reshape(1, image.shape[1], -1)
    return Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).squeeze(-1).numpy()), MODES[len(image)])


def rows_of(items: Sequence[T], columns: int) -> list[Sequence[T]]:
    """The items in rows of `columns`; the last row may be shorter."""
    return [items[k : k + columns] for k in range(0, len(items), columns)]
