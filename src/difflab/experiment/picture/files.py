"""The files of pictures. A PNG says where its tiles and labels are, so that the bare tiles can be cut out again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

LAYOUT = "difflab"  # the text chunk of a PNG that holds the places of its tiles and labels, as JSON


def save_png(image: Image.Image, path: Path) -> Path:
    """Write a PNG, with its folder and with the layout of a sheet; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    about = PngInfo()
    if isinstance(layout := image.info.get(LAYOUT), str):
        about.add_itxt(LAYOUT, layout)
    image.save(path, pnginfo=about)
    return path


def save_gif(frames: Sequence[Image.Image], path: Path, milliseconds: int = 80) -> Path:
    """Write an endless GIF, with its folder; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=milliseconds, loop=0)
    return path


def bare(image: Image.Image) -> Image.Image:
    """The tiles of a sheet without the words around them; the image itself where it has no layout."""
    try:
        left, top, right, bottom = (int(side) for side in json.loads(str(image.info[LAYOUT]))["area"])
    except (KeyError, ValueError, TypeError):
        return image
    inside = 0 <= left < right <= image.width and 0 <= top < bottom <= image.height
    return image.crop((left, top, right, bottom)) if inside else image
