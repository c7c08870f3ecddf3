"""One image of any size and type, and how it becomes 8 bits of one shape."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from difflab.data.decoding import decoding

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
DEEP = ("I", "F")  # how Pillow's modes begin that have more than 8 bits
WHOLE = ((0, 255), (0, 1023), (0, 4095), (0, 16383), (0, 65535))  # of 8, 10, 12, 14 and 16 bits
REAL = ((0, 1), (-1, 1), (0, 255))


@dataclass(frozen=True)
class Values:
    """The values `low` and `high` of deep images that become black and white."""

    low: float
    high: float
    whole: bool  # of images of whole numbers

    def of(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """Values as 0..255, those outside cut."""
        scaled = (x.astype(np.float64) - self.low) * (255 / (self.high - self.low))
        return scaled.clip(0, 255).astype(np.float32)


@dataclass(frozen=True)
class Picture:
    """An image as an array `(H, W, C)`, of 8 bits or deep, or as Pillow has it where it is neither."""

    content: NDArray[Any] | Image.Image

    @property
    def deep(self) -> bool:
        """Whether it has more than 8 bits, or floats."""
        return isinstance(self.content, np.ndarray) and self.content.dtype != np.uint8

    @property
    def kind(self) -> str:
        """Its size, and its mode or type."""
        if isinstance(self.content, Image.Image):
            return f"{self.content.height}x{self.content.width} {self.content.mode}"
        height, width, _ = self.content.shape
        name = "float" if self.content.dtype.kind == "f" else f"{8 * self.content.itemsize} bit"
        return f"{height}x{width} {name}"

    def fitted(self, shape: Sequence[int], values: Values | None) -> NDArray[np.uint8]:
        """It in 8 bits (C, H, W): resized to cover the shape, then centre-cropped.

        Raises ValueError for values that are not finite.
        """
        channels, height, width = shape
        if values and isinstance(self.content, np.ndarray) and self.deep:
            if not np.isfinite(self.content).all():
                raise ValueError("values that are not finite")
            planes = [self._fit(Image.fromarray(plane), width, height) for plane in self._planes(channels, values)]
            return np.stack([np.asarray(plane).round().clip(0, 255).astype(np.uint8) for plane in planes])
        image = self.content if isinstance(self.content, Image.Image) else self._pillow(self.content)
        if channels < 4 and image.has_transparency_data:
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
        fitted = self._fit(image.convert(MODES[channels]), width, height)
        return np.asarray(fitted).reshape(height, width, channels).transpose(2, 0, 1)

    def _planes(self, channels: int, values: Values) -> list[NDArray[np.float32]]:
        """The channels of a deep image, as many as are given: grey by luma, an opaque fourth."""
        x = values.of(np.asarray(self.content))
        planes = [x[..., k] for k in range(x.shape[-1])]
        if channels == 1 and len(planes) >= 3:
            red, green, blue = planes[:3]
            return [np.float32(0.299) * red + np.float32(0.587) * green + np.float32(0.114) * blue]  # as Pillow's L
        colours = planes[:3] if len(planes) >= 3 else planes[:1] * min(channels, 3)
        opaque = planes[3] if len(planes) > 3 else np.full_like(planes[0], 255)
        return [*colours, opaque][:channels]

    @staticmethod
    def _pillow(x: NDArray[Any]) -> Image.Image:
        return Image.fromarray(x[..., 0] if x.shape[-1] == 1 else np.ascontiguousarray(x))

    @staticmethod
    def _fit(image: Image.Image, width: int, height: int) -> Image.Image:
        return ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)


@contextmanager
def opened(file: Path) -> Iterator[Picture]:
    """A file, turned as its tag says, while it is converted; of an animation its first frame.

    Raises what Pillow raises, and as `decoding`.
    """
    with decoding(file) as image:
        turned: Image.Image = ImageOps.exif_transpose(image)
        turned.load()
        yield Picture(np.asarray(turned)[..., None] if turned.mode.startswith(DEEP) else turned)


def read(file: Path, shape: Sequence[int]) -> NDArray[np.uint8]:
    """One file as (C, H, W) in 8 bits, a deep one by its own range. Raises what Pillow raises, and ValueError."""
    with opened(file) as picture:
        return picture.fitted(shape, standard([extent_of(picture)], [picture.kind]) if picture.deep else None)


def extent_of(picture: Picture) -> tuple[float, float]:
    """The least and the largest value of an array. Raises ValueError for values that are not finite."""
    x = np.asarray(picture.content)
    low, high = float(x.min()), float(x.max())
    if not np.isfinite(high - low):
        raise ValueError("values that are not finite")
    return low, high


def standard(extents: Sequence[Any], kinds: Sequence[str]) -> Values:
    """The smallest of the usual ranges that holds all values: of 8 to 16 bits, or of floats 0..1, -1..1 and 0..255.

    Raises ValueError where none does, with the word that states one.
    """
    low, high = min(pair[0] for pair in extents), max(pair[1] for pair in extents)
    whole = not any(kind.endswith("float") for kind in kinds)
    for least, most in WHOLE if whole else REAL:
        if least <= low and high <= most:
            return Values(least, most, whole)
    raise ValueError(
        f"the values of these images lie in {low:g}..{high:g}, which is no usual range: say which become black and "
        f"white, as data.source.values=[{low:g},{high:g}]"
    )
