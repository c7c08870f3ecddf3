"""Sets of images or of points in the plane as values, and the one map between what is stored and what models see."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor


def to_float(x: Tensor) -> Tensor:
    """What models see: bytes 0..255 mapped onto [-1, 1] by x / 127.5 - 1; floats as they are."""
    return x.float() / 127.5 - 1 if x.dtype == torch.uint8 else x.float()


def to_uint8(x: Tensor) -> Tensor:
    """Map [-1, 1] onto bytes, the inverse of `to_float`: round((x + 1) 127.5), values outside clamped."""
    return ((x.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def to_stored(x: Tensor) -> Tensor:
    """Generated samples as a set stores them: images (N, C, H, W) as bytes, points (N, 2) as float32."""
    return to_uint8(x) if x.ndim == 4 else x.float()


@dataclass(frozen=True, eq=False)
class Split:
    """Images x: uint8 (N, C, H, W), or points float32 (N, 2), with labels y: int64 (N,), 0 where there are no classes.

    With `eps`, the noise that each x was generated from, both are float32 of one shape, as models see them.
    Raises ValueError if a type or shape is another one.
    """

    x: Tensor
    y: Tensor
    eps: Tensor | None = None

    def __post_init__(self) -> None:
        x, eps = self.x, self.eps
        images = x.dtype == torch.uint8 and x.ndim == 4
        points = x.dtype == torch.float32 and x.shape[1:] == (2,)
        if eps is None and not (images or points):
            raise ValueError(
                f"images must be uint8 (N, C, H, W), points float32 (N, 2), not {x.dtype} {tuple(x.shape)}"
            )
        if eps is not None and not (x.dtype == eps.dtype == torch.float32 and x.shape == eps.shape):
            raise ValueError(
                f"x and eps must both be float32 of one shape, "
                f"not {x.dtype} {tuple(x.shape)} and {eps.dtype} {tuple(eps.shape)}"
            )
        if self.y.dtype != torch.int64 or self.y.shape != self.x.shape[:1]:
            raise ValueError(f"labels must be int64 ({len(self.x)},), not {self.y.dtype} {tuple(self.y.shape)}")

    def __len__(self) -> int:
        return len(self.x)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample: (C, H, W) or (2,)."""
        return tuple(self.x.shape[1:])

    @cached_property
    def sha256(self) -> str:
        """Sum of the bytes of x in (N, C, H, W) or (N, 2) order, then of those of eps."""
        parts = [self.x] if self.eps is None else [self.x, self.eps]
        digest = hashlib.sha256()
        for part in parts:
            digest.update(part.contiguous().numpy().data)
        return digest.hexdigest()

    @cached_property
    def labelled_sha256(self) -> str:
        """The same of the samples with their labels."""
        return hashlib.sha256(self.sha256.encode() + self.y.contiguous().numpy().tobytes()).hexdigest()


@dataclass(frozen=True, eq=False)
class Images:
    """A training split, a held-out split, and the class names (none: unlabelled)."""

    train: Split
    test: Split
    names: tuple[str, ...] = ()


class Source(Protocol):
    """Where images or points come from."""

    def load(self) -> Images:
        """Read the whole set into memory."""
