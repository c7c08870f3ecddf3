"""One image of any size and type, and how it becomes 8 bits of one shape."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
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
OWN = "save it with 8 bits"  # the way out for one image


@dataclass(frozen=True)
class Values:
    """The values `low` and `high` of images that become black and white."""

    low: float
    high: float

    def of(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """Values as 0..255, those outside cut."""
        scaled = (x.astype(np.float64) - self.low) * (255 / (self.high - self.low))
        return scaled.clip(0, 255).astype(np.float32)

    def bytes_of(self, x: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The same of 8 bits `(H, W, C)`, rounded; a fourth channel is left as it is."""
        return np.concatenate([self.of(x[..., :3]).round().astype(np.uint8), x[..., 3:]], -1)


@dataclass(frozen=True)
class Picture:
    """An image as an array `(H, W, C)`, of 8 bits or deep, or as Pillow has it where it is neither.

    A deep one has its transparency apart: `alpha` `(H, W)` in 0..255, where 255 is opaque; None: opaque all over.
    """

    content: NDArray[Any] | Image.Image
    alpha: NDArray[np.float32] | None = None

    @property
    def numbers(self) -> bool:
        """Whether it is an array, of which may be said which values are black and white."""
        return isinstance(self.content, np.ndarray)

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

        `values` change arrays alone. Raises ValueError for values that are not finite.
        """
        channels, height, width = shape
        if values and self.deep:
            check_finite(self.content)
            planes = [self._fit(Image.fromarray(plane), width, height) for plane in self._planes(channels, values)]
            return np.stack([np.asarray(plane).round().clip(0, 255).astype(np.uint8) for plane in planes])
        image = self.content if isinstance(self.content, Image.Image) else self._pillow(self.content, values)
        if channels < 4 and image.has_transparency_data:
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
        fitted = self._fit(image.convert(MODES[channels]), width, height)
        return np.asarray(fitted).reshape(height, width, channels).transpose(2, 0, 1)

    def _planes(self, channels: int, values: Values) -> list[NDArray[np.float32]]:
        """The channels of a deep image, as many as are given: grey by luma; on white where there is no fourth."""
        x = values.of(np.asarray(self.content))
        if channels < 4 and self.alpha is not None:
            share = self.alpha[..., None] / np.float32(255)
            x = share * x + (1 - share) * 255
        planes = [x[..., k] for k in range(x.shape[-1])]
        if channels == 1 and len(planes) == 3:
            red, green, blue = planes
            return [np.float32(0.299) * red + np.float32(0.587) * green + np.float32(0.114) * blue]  # as Pillow's L
        colours = planes if len(planes) == 3 else planes * min(channels, 3)
        opaque = np.full_like(planes[0], 255) if self.alpha is None else self.alpha
        return [*colours, opaque][:channels]

    @staticmethod
    def _pillow(x: NDArray[np.uint8], values: Values | None) -> Image.Image:
        x = values.bytes_of(x) if values else x
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
        if not turned.mode.startswith(DEEP):
            yield Picture(turned)
            return
        x, clear = np.asarray(turned), turned.info.get("transparency")  # the one grey that is transparent
        yield Picture(x[..., None], None if clear is None else np.where(x == clear, 0, 255).astype(np.float32))


def row(x: NDArray[Any], top: float) -> AbstractContextManager[Picture]:
    """An image `(H, W, C)` of an array, as `opened` gives one of a file; `top`: see `opaque`."""
    if x.dtype == np.uint8 or x.shape[-1] < 4:
        return nullcontext(Picture(x))
    check_finite(x[..., 3])
    return nullcontext(Picture(x[..., :3], Values(0, top).of(x[..., 3])))


def opaque(x: NDArray[Any]) -> float:
    """The value of the fourth channel of images that is opaque: the least usual top that holds all; 255 without one."""
    if x.shape[-1] < 4:
        return 255
    most = float(x[..., 3].max(initial=0, where=np.isfinite(x[..., 3])))
    return next((top for _, top in (REAL if x.dtype.kind == "f" else WHOLE) if most <= top), most)


def read(file: Path, shape: Sequence[int]) -> NDArray[np.uint8]:
    """One file as (C, H, W) in 8 bits, a deep one by its own range. Raises what Pillow raises, and ValueError."""
    with opened(file) as picture:
        return picture.fitted(shape, standard([extent_of(picture)], [picture.kind], OWN) if picture.deep else None)


def extent_of(picture: Picture) -> tuple[float, float]:
    """The least and the largest value of an array. Raises ValueError for values that are not finite."""
    x = np.asarray(picture.content)
    check_finite(x)
    return float(x.min()), float(x.max())


def check_finite(x: Any) -> None:  # noqa: ANN401  # an array
    """Raise ValueError for values that are not finite."""
    if not np.isfinite(x).all():
        raise ValueError("values that are not finite")


def standard(extents: Sequence[Any], kinds: Sequence[str], way: str) -> Values:
    """The smallest of the usual ranges that holds all values: of 8 to 16 bits, or of floats 0..1, -1..1 and 0..255.

    Raises ValueError where none does, with the way out.
    """
    low, high = min(pair[0] for pair in extents), max(pair[1] for pair in extents)
    whole = not any(kind.endswith("float") for kind in kinds)
    for least, most in WHOLE if whole else REAL:
        if least <= low and high <= most:
            return Values(least, most)
    raise ValueError(f"the values of these images lie in {low:g}..{high:g}, which is no usual range: {way}")
