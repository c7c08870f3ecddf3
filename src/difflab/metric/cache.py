"""The contract of a cache: features and scores of real samples are computed once and kept by whoever measures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from torch import Tensor


class Cache(Protocol):
    """Where tensors are kept that are computed once."""

    def __call__(
        self, name: str, identity: Sequence[object], compute: Callable[[], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """The result of `compute`, or what was kept of it before; `identity` is all that it depends on."""


def uncached(name: str, identity: Sequence[object], compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Keep nothing."""
    return compute()
