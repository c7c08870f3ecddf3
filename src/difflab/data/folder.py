"""Any folder of images."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from difflab.data.decoding import LARGEST, decoding
from difflab.data.images import Images, Split
from difflab.data.layout import scan

MODES = {1: "L", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True)
class Folder:
    """The images of a folder (layout: `scan`), of any size and mode, brought to one shape (C, H, W) and kept in memory.

    C = 1 is grey, 3 RGB, 4 RGBA; where C < 4, transparency is laid on white. Images are resized until they cover
    (H, W) with Pillow's antialiased bicubic filter (Parmar et al. 2022, arXiv:2104.11222), then centre-cropped.
    An image is held out if the hash of (seed, its path in the folder) falls into the fraction held_out, so that adding
    files moves none between the splits.
    Raises ValueError for another number of channels, a split without images, and unreadable files (named, at most 5).
    """

    paths: ClassVar[tuple[str, ...]] = ("root",)
    root: str
    shape: Sequence[int]
    held_out: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or self.shape[0] not in MODES:
            raise ValueError(f"shape={list(self.shape)} must be [C, H, W] with C = 1 (grey), 3 (RGB) or 4 (RGBA)")
        if not all(1 <= side <= LARGEST for side in self.shape[1:]):
            raise ValueError(f"data.shape={list(self.shape)}: height and width must lie in 1..{LARGEST}")

    def load(self) -> Images:
        """Decode all images, in threads."""
        root = Path(self.root).expanduser()
        files, labels, names = scan(root)
        held = np.array([self._fraction(file.relative_to(root)) < self.held_out for file in files])
        order = np.argsort(held, kind="stable")
        n = len(files) - int(held.sum())
        if not 0 < n < len(files):
            raise ValueError(
                f"held_out={self.held_out} puts {len(files) - n} of the {len(files)} images in {root} aside: "
                "choose a fraction that leaves images on both sides"
            )
        x, y = self.decode([files[i] for i in order]), torch.tensor(labels)[torch.from_numpy(order)]
        return Images(Split(x[:n], y[:n]), Split(x[n:], y[n:]), names)

    def _fraction(self, path: Path) -> float:
        digest = hashlib.sha256(f"{self.seed}/{path.as_posix()}".encode()).digest()
        return int.from_bytes(digest[:8]) / 2**64

    def decode(self, files: Sequence[Path]) -> Tensor:
        """The images of files, uint8 `(N, *shape)`. Raises ValueError for those that cannot be read."""
        pixels = np.empty((len(files), *self.shape), np.uint8)

        def decode(i: int) -> str | None:
            try:
                pixels[i] = read(files[i], self.shape)
            except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
                return f"  {files[i]}: {error}"
            return None

        with ThreadPoolExecutor() as pool:
            unreadable = [line for line in pool.map(decode, range(len(files))) if line]
        if unreadable:
            raise ValueError(f"{len(unreadable)} of {len(files)} images cannot be read:\n" + "\n".join(unreadable[:5]))
        return torch.from_numpy(pixels)


def read(file: Path, shape: Sequence[int]) -> NDArray[np.uint8]:
    """Decode one image as (C, H, W); of an animation, its first frame.

    Raises what Pillow raises, and ValueError for more than 8 bits a channel, which Pillow would clip.
    """
    channels, height, width = shape
    with decoding(file) as opened:
        image: Image.Image = ImageOps.exif_transpose(opened)
        if image.mode.startswith(("I", "F")):
            raise ValueError(f"mode {image.mode} has more than 8 bits a channel: convert it first")
        if channels < 4 and image.has_transparency_data:
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
        image = ImageOps.fit(image.convert(MODES[channels]), (width, height), Image.Resampling.BICUBIC)
    return np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1)
