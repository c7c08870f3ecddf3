"""What a network is conditioned on: the noise level, and what the label looks up in a book."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor, nn

from difflab.backbone.book import Book, Classes, Entry
from difflab.backbone.layers import sinusoid, zeroed


class Ending(nn.Module):
    """The embedding of a second time: MLP(sinusoid(code)), whose last layer starts at zero."""

    def __init__(self, width: int, features: int) -> None:
        super().__init__()
        self.width = width
        self.linear1 = nn.Linear(width, features)
        self.linear2 = zeroed(nn.Linear(features, features))

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *rest: Any) -> None:  # noqa: ANN401
        """Stay at zero where the weights are of a network with one time."""
        if not any(key.startswith(prefix) for key in state):
            state |= {prefix + key: value for key, value in self.state_dict().items()}
        super()._load_from_state_dict(state, prefix, *rest)

    def forward(self, code: Tensor) -> Tensor:
        """(B,) -> (B, features)."""
        embedding = sinusoid(code, self.width).to(self.linear1.weight.dtype)
        h: Tensor = self.linear2(F.silu(self.linear1(embedding)))
        return h


class Condition(nn.Module):
    """The embedding of noise level and label: SiLU(MLP(sinusoid(code)) + table(label).vector).

    Every residual block projects it. `book(classes, features)` makes the table, whose name is that in the weights of
    version 0.1; without classes there is none and labels are ignored. With `second_time` there are two codes, of where
    a step starts and where it ends, and the MLP of the second is added, whose last layer starts at zero.

    A network that concatenates images has `images`, and one that attends to tokens has `tokens`. Raises ValueError for
    a book with parts that are not read, and without the tokens that are.
    """

    def __init__(
        self,
        width: int,
        features: int,
        classes: int,
        book: Callable[[int, int], Book] = Classes,
        second_time: bool = False,
        tokens: bool = False,
        images: bool = False,
    ) -> None:
        super().__init__()
        self.width = width
        self.linear1 = nn.Linear(width, features)
        self.linear2 = nn.Linear(features, features)
        self.end = Ending(width, features) if second_time else None
        self.table = book(classes, features) if classes else None
        self.token_width = self.table.width if self.table else 0
        self.channels = self.table.channels if self.table else 0
        if tokens and not self.token_width:
            raise ValueError(
                f"this backbone attends to tokens, and {type(self.table).__name__ if self.table else 'classes=0'} has "
                "none: choose book=tokens and data with captions, or a network without cross-attention: "
                "backbone=dit, or unet with backbone.cross=[]"
            )
        if self.table and (
            self.table.features not in (features, 0)
            or (self.token_width and not tokens)
            or (self.channels and not images)
        ):
            reads = f"vectors of {features} features{' and tokens' * tokens}{' and images' * images}"
            raise ValueError(
                f"this backbone reads {reads} from its book: {type(self.table).__name__} has vectors of "
                f"{self.table.features}, tokens of width {self.token_width} and images of {self.channels} channels; "
                "choose book=classes or vectors; tokens need backbone=mmdit, or unet with backbone.cross=[8], "
                "and images unet, dit or mmdit"
            )

    @property
    def classes(self) -> int:
        """How many labels have an entry in the book."""
        return self.table.classes if self.table else 0

    def forward(self, code: Tensor, label: Tensor | None = None) -> Tensor:
        """(B,), or (B, 2) with a second time, (B,) int64 -> (B, features)."""
        return cast(Tensor, self.entry(code, label).vector)

    def entry(self, code: Tensor, label: Tensor | None = None) -> Entry:
        """The entry of the label, with the embedding of both in place of its vector."""
        start = code if self.end is None else code[:, 0]
        embedding = sinusoid(start, self.width).to(self.linear1.weight.dtype)
        embedding = self.linear2(F.silu(self.linear1(embedding)))
        if self.end is not None:
            embedding = embedding + self.end(code[:, 1])
        found = Entry() if self.table is None else self.table(cast(Tensor, label))
        return found._replace(vector=F.silu(embedding if found.vector is None else embedding + found.vector))
