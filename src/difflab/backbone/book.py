"""Books: what a label means.

`label: (B,) int64` is all that travels through batches, paradigms, guidances and samplers. What a label means is a book
inside the backbone: a table of class vectors, or captions, vectors and images, which are data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from difflab.backbone.ranges import ClassCount, Width


class Entry(NamedTuple):
    """What a batch of labels looks up. A part that the book does not have is None."""

    vector: Tensor | None = None  # (B, features), added to the embedding of the noise level
    tokens: Tensor | None = None  # (B, L, width), for cross-attention
    mask: Tensor | None = None  # (B, L) bool, False where a shorter sequence was padded; None: no padding
    image: Tensor | None = None  # (B, C, H, W), or 1x1 of any size, concatenated to the channels of the sample


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

    def __init__(self, classes: ClassCount, features: Width) -> None:
        super().__init__()
        self.classes, self.features = classes, features
        self.weight = nn.Parameter(nn.init.normal_(torch.empty(classes + 1, features)))

    def forward(self, label: Tensor) -> Entry:
        """(B,) int64 -> a vector (B, features)."""
        return Entry(F.embedding(label, self.weight))


class Reader(Protocol):
    """What a run has to read the texts of prompts with; raises ValueError for texts that cannot be read."""

    @property
    def name(self) -> str:
        """Of the run, for messages."""

    def words(self, texts: Sequence[str]) -> Tensor:
        """The token ids of captions `(N, context)` in the run's vocabulary."""

    def images(self, texts: Sequence[str], channels: int) -> Tensor:
        """The images of files, float `(N, channels, H, W)` of the size of the samples, as models see them."""


class DataBook(nn.Module):
    """A book whose entries are data: `fill` sets them, and they are no part of the weights.

    `rows`, a buffer, has an entry for each label and the null label's last. Before the book is filled every label means
    the null entry, so that a network can be built, counted and loaded without data.

    A new meaning of labels is a subclass with `check`, `forward` and `example`, and `prompted` if prompts can state it.
    """

    features, width, channels = 0, 0, 0
    rows: Tensor  # (classes + 1, ...); (1, ...) before the book is filled
    own_null: bool  # whether the null entry is the book's own, rather than one that it was filled with

    def __init__(self, classes: int, null: Tensor) -> None:
        super().__init__()
        self.classes, self.own_null = classes, True
        self.register_buffer("rows", null[None], persistent=False)

    @property
    def filled(self) -> bool:
        """Whether the entries are set."""
        return len(self.rows) > 1

    def fill(self, rows: Tensor, null: Tensor | None = None) -> None:
        """Set the entries `(N, ...)`, N = `classes` from now on, and the null label's `(...)`; None: the book's own.

        Raises ValueError for rows that are not of the book's kind, or for none.
        """
        if not len(rows):
            raise ValueError(f"{type(self).__name__} is filled with one entry or more, not with none")
        self.check(rows)
        last = (self.blank(rows) if null is None else null)[None]
        if last.shape[1:] != rows.shape[1:]:
            raise ValueError(f"the null entry has the shape {list(last.shape[1:])}, the others {list(rows.shape[1:])}")
        self.check(last)
        self.rows = torch.cat([rows, last.to(rows)]).to(self.rows)
        self.classes, self.own_null = len(rows), null is None

    def blank(self, rows: Tensor) -> Tensor:
        """The book's own null row beside such rows: zeros."""
        return rows.new_zeros(rows.shape[1:])

    def check(self, rows: Tensor) -> None:
        """Raise ValueError for rows that are not of the book's kind."""
        raise NotImplementedError

    def prompted(self, texts: Sequence[str], reader: Reader) -> Tensor:
        """The rows that the texts of prompts state. Raises ValueError for texts that state none, and by default."""
        raise ValueError(f"prompts=: {reader.name} reads its conditions by {type(self).__name__}, which has none")

    def example(self, shape: Sequence[int], g: torch.Generator) -> Tensor:
        """A row for each label, drawn at random, for samples of a shape `(C, H, W)`: what the laws fill it with."""
        raise NotImplementedError(f"{type(self).__name__} needs example(shape, g), a random row for each label")

    def looked_up(self, label: Tensor) -> Tensor:
        """(B,) int64 -> the rows of the labels `(B, ...)`."""
        return self.rows[label if self.filled else torch.zeros_like(label)]

    def unconditional(self, label: Tensor) -> Tensor:
        """(B,) int64 -> (B,) bool: which labels mean the book's own null entry."""
        if not self.own_null:
            return torch.zeros_like(label, dtype=torch.bool)
        return label == self.classes if self.filled else torch.ones_like(label, dtype=torch.bool)


class Vectors(DataBook):
    """Float vectors, as measured quantities or spectra are: W2 SiLU(W1 vector). The null label has a learned vector.

    It is filled with floats `(N, dimensions)`, best of about unit variance. Raises ValueError for other rows.
    """

    def __init__(self, classes: ClassCount, features: Width, dimensions: Width = 1) -> None:
        super().__init__(classes, torch.zeros(dimensions))
        self.features, self.dimensions = features, dimensions
        self.project = nn.Sequential(nn.Linear(dimensions, features), nn.SiLU(), nn.Linear(features, features))
        self.null = nn.Parameter(nn.init.normal_(torch.empty(features)))

    def check(self, rows: Tensor) -> None:
        """Raise ValueError unless the rows are finite float vectors of so many dimensions."""
        if not rows.is_floating_point() or rows.shape[1:] != (self.dimensions,) or not rows.isfinite().all():
            raise ValueError(
                f"conditions are {self.dimensions} finite floats each (book.dimensions), "
                f"not {list(rows.shape[1:])} of {rows.dtype}"
            )

    def prompted(self, texts: Sequence[str], reader: Reader) -> Tensor:
        """The numbers of texts. Raises ValueError for anything else."""
        try:
            rows = [[float(word) for word in text.split()] for text in texts]
        except ValueError as error:
            raise ValueError(
                f"prompts=: this run is conditioned on numbers, and {error}: write prompts=[0.2,0.8]"
            ) from error
        if wrong := [text for text, row in zip(texts, rows, strict=True) if len(row) != self.dimensions]:
            raise ValueError(f"prompts=: {wrong[0]!r} should be {self.dimensions} numbers, with blanks between them")
        return torch.tensor(rows)

    def example(self, shape: Sequence[int], g: torch.Generator) -> Tensor:
        """Normal numbers."""
        return torch.randn(self.classes, self.dimensions, generator=g)

    def forward(self, label: Tensor) -> Entry:
        """(B,) int64 -> a vector (B, features)."""
        known = self.project(self.looked_up(label))
        return Entry(torch.where(self.unconditional(label)[:, None], self.null, known))


class Images(DataBook):
    """Images that are concatenated to the channels of the sample. The null entry is zeros.

    As super-resolution in Saharia et al. 2021 (arXiv:2104.07636), section 2.1. It is filled with floats
    `(N, channels, H, W)`, H and W those of the samples, as models see them. Raises ValueError for other rows.
    """

    def __init__(self, classes: ClassCount, features: Width, channels: Width = 1) -> None:
        super().__init__(classes, torch.zeros(channels, 1, 1))
        self.channels = channels

    def check(self, rows: Tensor) -> None:
        """Raise ValueError unless the rows are float images of so many channels."""
        if not rows.is_floating_point() or rows.ndim != 4 or rows.shape[1] != self.channels:
            raise ValueError(
                f"conditions are float images of {self.channels} channels (book.channels), "
                f"not {list(rows.shape[1:])} of {rows.dtype}"
            )

    def prompted(self, texts: Sequence[str], reader: Reader) -> Tensor:
        """The images of the files that the texts name."""
        return reader.images(texts, self.channels)

    def example(self, shape: Sequence[int], g: torch.Generator) -> Tensor:
        """Normal numbers."""
        return torch.randn(self.classes, self.channels, *shape[1:], generator=g)

    def forward(self, label: Tensor) -> Entry:
        """(B,) int64 -> an image (B, channels, H, W)."""
        return Entry(image=self.looked_up(label))


def beside(x: Tensor, image: Tensor | None) -> Tensor:
    """The sample with the channels of an entry's image behind its own. Raises ValueError for images of another size."""
    if image is None:
        return x
    if image.shape[2:] not in (x.shape[2:], (1, 1)):
        raise ValueError(
            f"the images of the book have {list(image.shape[2:])} pixels, the samples {list(x.shape[2:])}: "
            "resize them to the samples' size"
        )
    return torch.cat([x, image.to(x.dtype).expand(-1, -1, *x.shape[2:])], dim=1)
