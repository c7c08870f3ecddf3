"""Codecs: how samples are stored, what models see of them, how pictures show them and what metrics measure.

The one place that knows whether a sample is an image, a point or another array. Models see float32 of about unit scale;
of data with a range, that range is [-1, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override


class Codec:
    """Base class of codecs; subclasses implement `check`, `encode`, `decode`, `show` and `measure`.

    All of them take and return batches `(N, *shape)`.
    """

    cloud: ClassVar[bool] = False  # all samples are shown as points of one picture, rather than each as a picture
    mirrors: ClassVar[bool] = False  # the last axis runs from left to right, so that samples can be mirrored

    @property
    def space(self) -> str:
        """Whose latents models see, for protocol cards; empty where they see the samples themselves."""
        return ""

    @property
    def levels(self) -> int | None:
        """Encoded samples lie on so many equidistant values of [-1, 1]; None: they are continuous."""
        return None

    def check(self, x: Tensor) -> None:
        """Raise ValueError unless `x` is of the type and the shape that are stored."""
        raise NotImplementedError

    def encode(self, x: Tensor) -> Tensor:
        """Stored samples as models see them: float32."""
        raise NotImplementedError

    def decode(self, x: Tensor) -> Tensor:
        """Generated samples as they are stored: the inverse of `encode`, rounded where the stored type asks it."""
        raise NotImplementedError

    def show(self, x: Tensor) -> Tensor:
        """Stored samples for pictures: uint8 images `(N, C, H, W)`, or points `(N, 2)` where they are a `cloud`."""
        raise NotImplementedError

    def measure(self, x: Tensor) -> Tensor:
        """Stored samples as extractors and the search for copies see them: uint8 images, or vectors `(N, D)`."""
        raise NotImplementedError


def refuse(codec: Codec, stored: str, x: Tensor) -> None:
    """Raise ValueError: these samples are not what the codec stores."""
    raise ValueError(
        f"{codec} stores {stored}, not {x.dtype} {tuple(x.shape)}: choose another data.codec, as Pixels for images of "
        f"whole numbers, FloatImages, Points (N, D), or Arrays for any other shape"
    )


def bytes_of(x: Tensor) -> Tensor:
    """[-1, 1] as uint8: `round((x + 1) 127.5)`, values outside clamped."""
    return ((x.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


@dataclass(frozen=True)
class Pixels(Codec):
    """Images `(C, H, W)` of whole numbers 0..2^bits - 1: uint8 up to 8 bits, above that uint16 or int32.

    `encode` is `2 x / (2^bits - 1) - 1`. Generated samples are stored as uint8 or uint16; pictures and metrics see 8
    bits. Raises ValueError for bits outside 1..16.
    """

    mirrors: ClassVar[bool] = True
    bits: int = 8

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 16:
            raise ValueError(f"data.codec.bits={self.bits} must lie in 1..16; deeper images are FloatImages")

    @property
    @override
    def levels(self) -> int:
        return 1 << self.bits

    @override
    def check(self, x: Tensor) -> None:
        types = (torch.uint8,) if self.bits <= 8 else (torch.uint16, torch.int32)
        if x.dtype not in types or x.ndim != 4:
            refuse(self, f"{' or '.join(str(each).removeprefix('torch.') for each in types)} images (N, C, H, W)", x)
        if self.bits not in (8, 16) or x.dtype == torch.int32:
            low, high = x.to(torch.int32).aminmax()
            if low < 0 or high >= self.levels:
                raise ValueError(f"{self} stores 0..{self.levels - 1}; these pixels are {low}..{high}: change bits")

    @override
    def encode(self, x: Tensor) -> Tensor:
        return x.float() / ((self.levels - 1) / 2) - 1

    @override
    def decode(self, x: Tensor) -> Tensor:
        top = self.levels - 1
        return ((x.float() + 1) * (top / 2)).round().clamp(0, top).to(torch.uint8 if self.bits <= 8 else torch.uint16)

    @override
    def show(self, x: Tensor) -> Tensor:
        return x if self.bits == 8 else bytes_of(self.encode(x))

    @override
    def measure(self, x: Tensor) -> Tensor:
        return self.show(x)


@dataclass(frozen=True)
class Floats(Codec):
    """What is common to float32 data whose range `low..high` is stated: it is mapped to [-1, 1], and nothing is cut.

    Raises ValueError for an empty range.
    """

    low: float = -1.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"data.codec: low={self.low} must be less than high={self.high}")

    @override
    def check(self, x: Tensor) -> None:
        if x.dtype != torch.float32 or x.ndim < 2:
            refuse(self, "float32 (N, ...)", x)

    @override
    def encode(self, x: Tensor) -> Tensor:
        return (x.float() - (self.low + self.high) / 2) / ((self.high - self.low) / 2)

    @override
    def decode(self, x: Tensor) -> Tensor:
        return x.float() * ((self.high - self.low) / 2) + (self.low + self.high) / 2


@dataclass(frozen=True)
class FloatImages(Floats):
    """Images `(C, H, W)` of float32 in the range `low..high`; pictures and metrics see 8 bits of it."""

    mirrors: ClassVar[bool] = True

    @override
    def check(self, x: Tensor) -> None:
        if x.dtype != torch.float32 or x.ndim != 4:
            refuse(self, "float32 images (N, C, H, W)", x)

    @override
    def show(self, x: Tensor) -> Tensor:
        return bytes_of(self.encode(x))

    @override
    def measure(self, x: Tensor) -> Tensor:
        return self.show(x)


@dataclass(frozen=True)
class Arrays(Floats):
    """Signals `(C, L)`, videos and volumes `(C, T, H, W)`, or any other float32 `(C, ...)` or `(D,)` in `low..high`.

    A signal is shown as the curve of each channel over `low..high`, a volume as its slices side by side. Metrics see
    the numbers themselves, as a vector.
    """

    @override
    def show(self, x: Tensor) -> Tensor:
        unit = self.encode(x)
        if unit.ndim < 4:
            return curves(unit.reshape(len(unit), -1, unit.shape[-1]))
        slices = unit.reshape(*unit.shape[:2], -1, *unit.shape[-2:])  # (N, C, T, H, W)
        return bytes_of(slices.transpose(2, 3).flatten(3))  # (N, C, H, T W)

    @override
    def measure(self, x: Tensor) -> Tensor:
        return x.float().flatten(1)


@dataclass(frozen=True)
class Points(Codec):
    """Points `(D,)` of float32, stored as models see them. A picture shows their first two coordinates."""

    cloud: ClassVar[bool] = True

    @override
    def check(self, x: Tensor) -> None:
        if x.dtype != torch.float32 or x.ndim != 2:
            refuse(self, "points float32 (N, D)", x)

    @override
    def encode(self, x: Tensor) -> Tensor:
        return x.float()

    @override
    def decode(self, x: Tensor) -> Tensor:
        return x.float()

    @override
    def show(self, x: Tensor) -> Tensor:
        return x[:, :2] if x.shape[1] > 1 else torch.cat([x, torch.zeros_like(x)], 1)

    @override
    def measure(self, x: Tensor) -> Tensor:
        return x


def curves(x: Tensor, height: int = 32) -> Tensor:
    """Signals `(N, C, L)` in [-1, 1] as black curves on white, a channel above the other: uint8 `(N, 1, C height, L)`.

    Between two samples the curve is a vertical stroke; values outside are drawn on the edge.
    """
    row = ((1 - x.nan_to_num().clamp(-1, 1)) / 2 * (height - 1)).round()
    after = torch.cat([row[..., 1:], row[..., -1:]], -1)
    low, high = torch.minimum(row, after)[..., None, :], torch.maximum(row, after)[..., None, :]
    at = torch.arange(height, device=x.device)[:, None]
    return torch.where((low <= at) & (at <= high), 0, 255).to(torch.uint8).flatten(1, 2)[:, None]


def codec_of_shape(shape: Sequence[int]) -> Codec:
    """The codec of data that state none, as those of version 0.1: three axes were 8-bit images, one was a point."""
    return Pixels() if len(shape) == 3 else Points()
