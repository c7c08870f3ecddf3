"""Averages over a share of the training, of any length once it is over.

Karras et al. 2024, "Analyzing and improving the training dynamics of diffusion models" (arXiv:2312.02696). After n
steps the weights of step m have the share `(gamma + 1) m^gamma / n^(gamma + 1)`. A `length`
is the standard deviation of that law relative to n, `sigma_rel`: 0.05 and 0.10 are those that are tracked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from difflab.paradigm.ema import Averaging, Rate
from difflab.paradigm.sharding import gathered

TRACKED = 0.05, 0.10
LONGEST = 1 / math.sqrt(12)  # of equal shares, gamma = 0


def gamma(length: float) -> float:
    """The power: the largest root of `g^3 + 7 g^2 + (16 - 1 / length^2) g + 12 - 1 / length^2`.

    Raises ValueError unless the length lies between 0 and 0.2887.
    """
    if not 0 < length < LONGEST:
        raise ValueError(f"an average has a length between 0 and {LONGEST:.4f} of the training, not {length}")
    return float(np.roots([1, 7, 16 - length**-2, 12 - length**-2]).real.max())


def growing(length: float) -> Rate:
    """The rate of a power average, `1 - (1 - 1 / (n + 1))^(gamma + 1)`."""
    power = gamma(length) + 1
    return lambda n: 1 - (1 - 1 / (n + 1)) ** power


@dataclass(frozen=True)
class PowerAverage:
    """A power average after `step` steps."""

    length: float
    step: int

    def overlap(self, other: PowerAverage) -> float:
        """The integral of the product of both shares over the training."""
        a, b = gamma(self.length), gamma(other.length)
        ratio = math.pow(self.step / other.step, b if self.step < other.step else -a)
        return (a + 1) * (b + 1) * ratio / ((a + b + 1) * max(self.step, other.step))


def combination(kept: Sequence[PowerAverage], wanted: PowerAverage) -> tuple[Tensor, float]:
    """How much of each kept average to add for the wanted one, float64; and the error of that.

    By least squares of the shares. The error is the root of the squared difference between both, relative to the
    wanted ones.
    """
    a = torch.tensor([[one.overlap(other) for other in kept] for one in kept], dtype=torch.float64)
    b = torch.tensor([each.overlap(wanted) for each in kept], dtype=torch.float64)
    x = torch.linalg.lstsq(a, b, driver="gelsd").solution
    whole = wanted.overlap(wanted)
    return x, max((whole - 2 * b @ x + x @ a @ x).item() / whole, 0.0) ** 0.5


class PowerAverages(Averaging):
    """Track two power averages, and hand them to `keep` after `count` equal parts of the training.

    `keep` gets the step and, for each length, the averaged parameters in fp16, by name; in the first process alone.
    """

    def __init__(self, count: int, keep: Callable[[int, Mapping[float, Mapping[str, Tensor]]], None]) -> None:
        if count < 1:
            raise ValueError(f"snapshots={count}: 16 or more make averages of any length, 0 keeps none")
        super().__init__({length: growing(length) for length in TRACKED})
        self.count, self.keep = count, keep

    @override
    def average_in(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Average in the weights, and keep the averages at the end of a part."""
        super().average_in(trainer, pl_module)
        step = trainer.global_step
        if step in parts(int(trainer.estimated_stepping_batches), self.count):
            state = gathered({length: dict(each.module.named_parameters()) for length, each in self.averages.items()})
            if trainer.is_global_zero:
                self.keep(step, {length: {name: p.half() for name, p in s.items()} for length, s in state.items()})


def parts(steps: int, count: int) -> list[int]:
    """The last steps of `count` equal parts of the training."""
    return [round(steps * part / count) for part in range(1, count + 1)]
