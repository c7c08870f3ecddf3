"""The book of captions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from difflab.backbone.book import DataBook, Entry, Reader
from difflab.backbone.ranges import ClassCount, Depth, Width
from difflab.backbone.text import END, START, TextTransformer, end_of_text


class Tokens(DataBook):
    """Captions: a text transformer makes a sequence and a vector of the token ids of each.

    tokens, pooled = encoder(ids);  vector = W2 SiLU(W1 pooled), as Esser et al. 2024 (arXiv:2403.03206), section 4, add
    pooled text to the embedding of the noise level. Its last layer does not start at zero. The mask is True up to and
    including the end-of-text token. The null entry is the empty caption: start, end, padding.

    - `classes`, `features`: of the network that it is built for;
    - `width`, `depth`, `heads`, `vocabulary`, `context`: of the `TextTransformer`.

    It is filled with ids `(N, context)`. Raises ValueError for ids outside the vocabulary or without an end.
    """

    def __init__(
        self,
        classes: ClassCount,
        features: Width,
        width: Width = 128,
        depth: Depth = 2,
        heads: Width = 4,
        vocabulary: Width = 2048,
        context: Width = 24,
    ) -> None:
        super().__init__(classes, empty_caption(context))
        self.features, self.width = features, width
        self.encoder = TextTransformer(vocabulary, context, width, depth, heads)
        self.project = nn.Sequential(nn.Linear(width, features), nn.SiLU(), nn.Linear(features, features))

    def blank(self, rows: Tensor) -> Tensor:
        """The empty caption."""
        return empty_caption(self.encoder.context)

    def check(self, rows: Tensor) -> None:
        """Raise ValueError unless the rows are ids of the vocabulary, each with an end, as long as the context."""
        context, vocabulary = self.encoder.context, self.encoder.vocabulary
        if rows.is_floating_point() or rows.shape[1:] != (context,):
            raise ValueError(f"captions are {context} integer ids each (book.context), not {list(rows.shape[1:])}")
        if rows.min() < 0 or rows.max() >= vocabulary:
            raise ValueError(f"ids of captions lie in 0..{vocabulary - 1} (book.vocabulary), not up to {rows.max()}")
        if not (rows == END).any(dim=1).all():
            raise ValueError(f"each caption must have the end-of-text id {END} within its {context} ids")

    def prompted(self, texts: Sequence[str], reader: Reader) -> Tensor:
        """The ids of the texts' words."""
        return reader.words(texts)

    def example(self, shape: Sequence[int], g: torch.Generator) -> Tensor:
        """Random words, in captions of several lengths."""
        n, context = self.classes, self.encoder.context
        ids = torch.randint(END + 1, self.encoder.vocabulary, (n, context), generator=g)
        ids[:, 0], ids[:, -1] = START, END
        ids[torch.arange(n), 2 + torch.arange(n) % (context - 2)] = END
        return ids

    def forward(self, label: Tensor) -> Entry:
        """(B,) int64 -> a vector (B, features), tokens (B, context, width) and their mask (B, context)."""
        return self.read(self.looked_up(label))

    def read(self, ids: Tensor) -> Entry:
        """The entries of captions that need not stand in the book, by their ids (B, L), L at most the context."""
        tokens, pooled = self.encoder(ids)
        mask = torch.arange(ids.shape[1], device=ids.device) <= end_of_text(ids)[:, None]
        return Entry(self.project(pooled), tokens, mask)


def empty_caption(context: int) -> Tensor:
    """(context,): start, end, padding. Raises ValueError for a context without room for them."""
    if context < 2:
        raise ValueError(f"context={context} has no room for the start and the end of a caption: use 2 or more")
    return F.pad(torch.tensor([START, END]), (0, context - 2))
