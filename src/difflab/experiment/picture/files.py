"""The files of pictures. A PNG says where its tiles and labels are, so that the bare tiles can be cut out again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from difflab.experiment.store.stored import content, reason

BYTES, PIXELS = 64 * 2**20, 50_000_000  # that a picture may have
LAYOUT = "difflab"  # the text chunk of a PNG that holds the places of its tiles and labels, as JSON


def save_png(image: Image.Image, path: Path) -> Path:
    """Write a PNG, with its folder and with the layout of a sheet; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    about = PngInfo()
    if isinstance(layout := image.info.get(LAYOUT), str):
        about.add_itxt(LAYOUT, layout)
    image.save(path, pnginfo=about)
    return path


def picture_at(folder: Path, step: int) -> Path:
    """The picture of a training's step, in the folder of its kind."""
    return folder / f"step-{step:07d}.png"


def save_gif(frames: Sequence[Image.Image], path: Path, milliseconds: int = 80) -> Path:
    """Write an endless GIF, with its folder; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=milliseconds, loop=0)
    return path


def bare(image: Image.Image) -> Image.Image:
    """The tiles of a sheet without the words around them; the image itself where it has no layout."""
    try:
        left, top, right, bottom = (int(side) for side in json.loads(str(image.info[LAYOUT]))["area"])
    except (KeyError, ValueError, TypeError, RecursionError, OverflowError):
        return image
    inside = 0 <= left < right <= image.width and 0 <= top < bottom <= image.height
    return image.crop((left, top, right, bottom)) if inside else image


def check_png(path: Path) -> Path:
    """The path of a picture. Raises FileNotFoundError, and ValueError for what is no PNG, or is a very large one."""
    data = content(path, BYTES)
    try:
        with Image.open(BytesIO(data), formats=["PNG"]) as image:
            if image.width * image.height > PIXELS:
                raise ValueError(f"it has {image.width:,} x {image.height:,} pixels")
            image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} is no picture that difflab wrote: {reason(error)}") from error
    return path
