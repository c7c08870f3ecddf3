"""Image sets as values, and the one map between bytes and floats."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor


def to_float(x: Tensor) -> Tensor:
    """Map bytes 0..255 onto [-1, 1]: x / 127.5 - 1."""
    return x.float() / 127.5 - 1


def to_uint8(x: Tensor) -> Tensor:
    """Map [-1, 1] onto bytes, the inverse of `to_float`: round((x + 1) 127.5), values outside clamped."""
    return ((x.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


@dataclass(frozen=True, eq=False)
class Split:
    """Images x: uint8 (N, C, H, W) with labels y: int64 (N,), all 0 where there are no classes.

    Raises ValueError if a type or shape is another one.
    """

    x: Tensor
    y: Tensor

    def __post_init__(self) -> None:
        if self.x.dtype != torch.uint8 or self.x.ndim != 4:
            raise ValueError(f"images must be uint8 (N, C, H, W), not {self.x.dtype} {tuple(self.x.shape)}")
        if self.y.dtype != torch.int64 or self.y.shape != self.x.shape[:1]:
            raise ValueError(f"labels must be int64 ({len(self.x)},), not {self.y.dtype} {tuple(self.y.shape)}")

    def __len__(self) -> int:
        return len(self.x)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (C, H, W) of one image."""
        return tuple(self.x.shape[1:])

    @cached_property
    def sha256(self) -> str:
        """Sum of the pixel bytes in (N, C, H, W) order."""
        return hashlib.sha256(self.x.contiguous().numpy().data).hexdigest()


@dataclass(frozen=True, eq=False)
class Images:
    """A training split, a held-out split, and the class names (none: unlabelled)."""

    train: Split
    test: Split
    names: tuple[str, ...] = ()


class Source(Protocol):
    """Where images come from."""

    def load(self) -> Images:
        """Read the whole set into memory."""
