"""How much memory and how many tensors a configuration may ask for, checked before any of it is given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from difflab.data.regular import memory
from difflab.experiment.parts.errors import made_from

MOST = 10_000  # tensors that are made while a network is built; large networks make two thousand


class Counted(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types here
    """Count the tensors that are made, and their bytes. Raises ValueError at the first one that is too much."""

    def __init__(self, place: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch has no types here
        self.place, self.tensors, self.bytes, self.most = place, 0, 0, memory()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401  # torch's
        size = asked(args)
        if size:
            dtype = (kwargs or {}).get("dtype") or torch.get_default_dtype()
            self.tensors, self.bytes = self.tensors + 1, self.bytes + size * dtype.itemsize
            if self.bytes > self.most:
                raise ValueError(
                    f"{self.place}: it needs {self.bytes / 2**30:,.1f} GiB, and this machine has "
                    f"{self.most / 2**30:,.1f}: choose smaller numbers"
                )
            if self.tensors > MOST:
                raise ValueError(f"{self.place}: it is made of more than {MOST:,} tensors: choose smaller numbers")
        return func(*args, **(kwargs or {}))


def asked(args: tuple[Any, ...]) -> int:
    """The elements of a tensor that is made from sizes alone; 0 for other calls."""
    first = args[0] if args else None
    sizes = isinstance(first, list | tuple) and first and all(isinstance(each, int) for each in first)
    return prod(first) if sizes and first else 0


@contextmanager
def bounded(place: str) -> Iterator[None]:
    """A block that builds networks. Raises ValueError, with the place, for those that do not fit the memory."""
    with made_from(place), Counted(place):
        yield
