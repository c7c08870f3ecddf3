"""Pictures of samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from torch import Tensor

    from difflab.data.codec import Codec

MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # Pillow's words, by channels
INK = np.array([16, 42, 131])


def picture(samples: Tensor, columns: int, codec: Codec) -> Image.Image:
    """Stored samples `(N, *shape)` row by row as their codec shows them, or a cloud of points as its density."""
    return scatter(codec.show(samples)) if codec.cloud else sheet(rows_of(tiles(samples, codec), columns))


def tiles(samples: Tensor, codec: Codec) -> list[Image.Image]:
    """A tile for each stored sample; or one for all of a cloud of points, small, as its density."""
    shown = codec.show(samples)
    return [scatter(shown, 160)] if codec.cloud else [tile(image) for image in shown]


def tile(image: Tensor) -> Image.Image:
    """One uint8 image `(C, H, W)`, pixel for pixel; where C is no colour space, the channels side by side in grey."""
    if len(image) not in MODES:
        image = image.permute(1, 0, 2).reshape(1, image.shape[1], -1)
    return Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).squeeze(-1).numpy()), MODES[len(image)])


def rows_of(items: Sequence[Image.Image], columns: int) -> list[Sequence[Image.Image]]:
    """The tiles in rows of `columns`, the last as long as it comes."""
    return [items[k : k + columns] for k in range(0, len(items), columns)]


def sheet(rows: Sequence[Sequence[Image.Image]], smallest: int = 48, gap: int = 2) -> Image.Image:
    """Rows of tiles of one size, each tile enlarged by whole pixels to at least `smallest` a side."""
    first = rows[0][0]
    zoom = max(1, -(-smallest // min(first.size)))
    width, height = first.width * zoom, first.height * zoom
    columns = max(len(row) for row in rows)
    size = columns * (width + gap) + gap, len(rows) * (height + gap) + gap
    whole = Image.new(first.mode, size, "white")
    for down, row in enumerate(rows):
        for right, one in enumerate(row):
            enlarged = one.resize((width, height), Image.Resampling.NEAREST)
            whole.paste(enlarged, (gap + right * (width + gap), gap + down * (height + gap)))
    return whole


def scatter(points: Tensor, side: int = 400, extent: float = 3.0) -> Image.Image:
    """Points `(N, 2)` on the square -extent..extent: one dot each, the darker the more of them lie there, as log n.

    Dots shrink as N^(-1/6), Scott's rule for two dimensions. Points beyond the square are drawn on its edge, and those
    that are not finite are left out.
    """
    at = points.double().numpy()
    at = at[np.isfinite(at).all(1)]
    column, row = (((at * (1, -1) / extent + 1) / 2 * side).clip(0, side - 1)).astype(int).T
    radius = max(1.0, side / 50 * max(1, len(at)) ** (-1 / 6))
    count = np.zeros((side, side))
    reach = np.arange(-int(radius), int(radius) + 1)
    for down, right in [(i, j) for i in reach for j in reach if i * i + j * j <= radius * radius]:
        np.add.at(count, ((row + down).clip(0, side - 1), (column + right).clip(0, side - 1)), 1)
    shade = np.log1p(count) / np.log1p(max(1.0, count.max()))
    return Image.fromarray((255 + shade[..., None] * (INK - 255)).round().astype(np.uint8), "RGB")


def save_png(image: Image.Image, path: Path) -> Path:
    """Write a PNG, with its folder; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


def save_gif(frames: Sequence[Image.Image], path: Path, milliseconds: int = 80) -> Path:
    """Write an endless GIF, with its folder; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=milliseconds, loop=0)
    return path
