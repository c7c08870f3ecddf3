"""The perceptron for points."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from difflab.backbone.book import Book, Classes
from difflab.backbone.embedding import Condition
from difflab.backbone.layers import zeroed
from difflab.backbone.ranges import ClassCount, Depth, Width


class Block(nn.Module):
    """x + second(SiLU(first(SiLU(x)) + project(condition))), without the last term where it is not conditioned.

    The second layer starts at zero.
    """

    def __init__(self, width: int, conditioned: bool = True) -> None:
        super().__init__()
        self.first = nn.Linear(width, width)
        self.project = nn.Linear(width, width) if conditioned else None
        self.second = zeroed(nn.Linear(width, width))

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """(B, width), (B, width) or None -> (B, width)."""
        h: Tensor = self.first(F.silu(x))
        if self.project is not None:
            h = h + self.project(condition)
        h = x + self.second(F.silu(h))
        return h


def random_waves(size: int, n: int) -> nn.Linear:
    """The phases W x + b of n waves of points of `size` numbers, which are learned from a random start."""
    waves = nn.Linear(size, n)
    nn.init.normal_(waves.weight, std=math.pi / 2)  # most waves longer than one standard deviation of the data
    nn.init.uniform_(waves.bias, -math.pi, math.pi)
    return waves


class MLP(nn.Module):
    """Residual perceptron for points, conditioned on noise level and label.

    It reads the point x and width / 2 learned waves sin(W x + b) of it. Identity shortcuts before the activation: He et
    al. 2016 (arXiv:1603.05027); random waves: Tancik et al. 2020 (arXiv:2006.10739), section 3.

    - `shape`: (D,) of the samples, of about unit variance;
    - `classes`: how many, 0 for none; label `classes` is the null class;
    - `width`: of every hidden layer;
    - `depth`: residual blocks of two layers each;
    - `learned_variance`: twice the outputs;
    - `second_time`: the code is `(B, 2)`, of where a step starts and of where it ends: see `FlowMap`;
    - `book`: what a label means, a book of vectors.

    Raises ValueError if the shape is no point's, if the width is odd, or for a book of tokens or images.
    """

    as_before: ClassVar[Mapping[str, object]] = {"second_time": False, "book": Classes}

    def __init__(
        self,
        shape: Sequence[Width],
        classes: ClassCount,
        width: Width = 128,
        depth: Depth = 3,
        learned_variance: bool = False,
        second_time: bool = False,
        book: Callable[[int, int], Book] = Classes,
    ) -> None:
        super().__init__()
        if len(shape) != 1:
            raise ValueError(f"shape {list(shape)} is an image, not a point: choose backbone=unet or dit")
        if width % 2:
            raise ValueError(f"width={width} must be even: half of it are the sines of the noise level")
        (size,) = shape
        self.shape, self.learned_variance, self.second_time = tuple(shape), learned_variance, second_time
        self.condition = Condition(width, width, classes, book, second_time)
        self.waves = random_waves(size, width // 2)
        self.enter = nn.Linear(size + width // 2, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.leave = zeroed(nn.Linear(width, (1 + learned_variance) * size))

    @property
    def classes(self) -> int:
        """How many labels have an entry in the book; the null label is one more."""
        return self.condition.classes

    @property
    def outer_layers(self) -> tuple[nn.Module, ...]:
        """The layers that read the sample, the noise level and the label, and the one that makes the output."""
        return self.condition, self.waves, self.enter, self.leave

    def forward(self, x: Tensor, code: Tensor, label: Tensor) -> Tensor:
        """(B, D), (B,) or (B, 2), (B,) int64 -> (B, D or 2D), in the dtype of x also under autocast."""
        condition = self.condition(code, label)  # (B, width)
        h: Tensor = self.enter(torch.cat([x, self.waves(x).sin()], dim=1))
        for block in self.blocks:
            h = block(h, condition)
        h = self.leave(F.silu(h))
        return h.to(x.dtype)
