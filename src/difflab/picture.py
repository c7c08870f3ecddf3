"""Pictures of samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # Pillow's words, by channels


def picture(image: Tensor) -> Image.Image:
    """One uint8 image `(C, H, W)`; where C is no colour space, the channels side by side in grey."""
    if len(image) not in MODES:
        image = image.permute(1, 0, 2).reshape(1, image.shape[1], -1)
    return Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).squeeze(-1).numpy()), MODES[len(image)])


def picture_grid(images: Tensor, columns: int, smallest: int = 48, gap: int = 2) -> Image.Image:
    """uint8 images `(N, C, H, W)` row by row, each enlarged by whole pixels to at least `smallest` a side."""
    tiles = [picture(image) for image in images]
    width, height = tiles[0].size
    zoom = max(1, -(-smallest // min(width, height)))
    width, height = width * zoom, height * zoom
    rows = -(-len(tiles) // columns)
    sheet = Image.new(tiles[0].mode, (columns * (width + gap) + gap, rows * (height + gap) + gap), "white")
    for k, tile in enumerate(tiles):
        row, column = divmod(k, columns)
        sheet.paste(
            tile.resize((width, height), Image.Resampling.NEAREST),
            (gap + column * (width + gap), gap + row * (height + gap)),
        )
    return sheet


def save_png(image: Image.Image, path: Path) -> Path:
    """Write a PNG, with its folder; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path
