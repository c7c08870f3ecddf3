"""How far two sets of samples from the same noise are apart, for grids that find times by it."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Distance = Callable[[Tensor, Tensor], float]


def rms_distance(x: Tensor, y: Tensor) -> float:
    """The root mean square of all differences."""
    return (x - y).double().square().mean().sqrt().item()
