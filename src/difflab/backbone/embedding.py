"""What a network is conditioned on: the noise level, and what the label looks up in a book.

`label: (B,) int64` is all that travels through batches, paradigms, guidances and samplers. What a label means is a book
inside the backbone: a table of class vectors here; captions, vectors or images are other books with the same interface.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from difflab.backbone.layers import sinusoid, zeroed


class Entry(NamedTuple):
    """What a batch of labels looks up. A part that the book does not have is None."""

    vector: Tensor | None = None  # (B, features), added to the embedding of the noise level
    tokens: Tensor | None = None  # (B, L, width), for cross-attention
    mask: Tensor | None = None  # (B, L) bool, False where a shorter sequence was padded; None: no padding
    image: Tensor | None = None  # (B, C, H, W), concatenated to the channels of the sample


class Book(Protocol):
    """An `nn.Module` from labels to what they mean.

    It holds `classes` entries and, at the index `classes`, the null label's, which is learned where labels are dropped
    in training. A network reads the sizes when it is built and refuses a part that it has no use for.
    """

    classes: int  # how many labels have an entry; the null label is one more
    features: int  # of `Entry.vector`; 0: it has none
    width: int  # of `Entry.tokens`; 0: it has none
    channels: int  # of `Entry.image`; 0: it has none

    def __call__(self, label: Tensor) -> Entry:
        """The entries of labels `(B,)` int64 in 0..classes."""


class Classes(nn.Module):
    """A table of class vectors: row `classes` is the null label's."""

    width, channels = 0, 0

    def __init__(self, classes: int, features: int) -> None:
        super().__init__()
        self.classes, self.features = classes, features
        self.weight = nn.Parameter(nn.init.normal_(torch.empty(classes + 1, features)))

    def forward(self, label: Tensor) -> Entry:
        """(B,) int64 -> a vector (B, features)."""
        return Entry(F.embedding(label, self.weight))


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
    a step starts and where it ends, and the MLP of the second is added, whose last layer starts at zero. Raises
    ValueError for a book with parts that are not read here: tokens and images are for networks with layers for them.
    """

    def __init__(
        self,
        width: int,
        features: int,
        classes: int,
        book: Callable[[int, int], Book] = Classes,
        second_time: bool = False,
    ) -> None:
        super().__init__()
        self.width = width
        self.linear1 = nn.Linear(width, features)
        self.linear2 = nn.Linear(features, features)
        self.end = Ending(width, features) if second_time else None
        self.table = book(classes, features) if classes else None
        if self.table and (self.table.features, self.table.width, self.table.channels) != (features, 0, 0):
            raise ValueError(
                f"this backbone reads vectors of {features} features from its book: {type(self.table).__name__} has "
                f"vectors of {self.table.features}, tokens of width {self.table.width} and images of "
                f"{self.table.channels} channels; choose a book of vectors, as Classes is"
            )

    def forward(self, code: Tensor, label: Tensor | None = None) -> Tensor:
        """(B,), or (B, 2) with a second time, (B,) int64 -> (B, features)."""
        start = code if self.end is None else code[:, 0]
        embedding = sinusoid(start, self.width).to(self.linear1.weight.dtype)
        embedding = self.linear2(F.silu(self.linear1(embedding)))
        if self.end is not None:
            embedding = embedding + self.end(code[:, 1])
        return F.silu(embedding if self.table is None else embedding + self.table(cast(Tensor, label)).vector)
