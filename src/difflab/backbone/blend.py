"""What lies between the entries of a book."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from difflab.backbone.book import Book, Entry


class Blend(nn.Module):
    """Mixes of the entries of a book: label k means `(1 - w_k) a_k + w_k b_k`, the null label what it means there.

    Vectors, images and the tokens of each place are mixed; a token counts where it does in one of the two. `start` and
    `end` `(N,)` are labels of the book, `weight` `(N,)` is w.
    """

    start: Tensor
    end: Tensor
    weight: Tensor

    def __init__(self, book: Book, start: Tensor, end: Tensor, weight: Tensor) -> None:
        super().__init__()
        self.book, self.classes = book, len(weight)
        for name, value in {"start": start, "end": end, "weight": weight}.items():
            self.register_buffer(name, value, persistent=False)

    def forward(self, label: Tensor) -> Entry:
        """(B,) int64 -> the mixed entry."""
        null, row = label == self.classes, label.clamp(max=self.classes - 1)
        a, b = (self.book(torch.where(null, self.book.classes, ends[row])) for ends in (self.start, self.end))
        w = torch.where(null, 0.0, self.weight[row])
        mask = None if a.mask is None or b.mask is None else a.mask | b.mask
        return Entry(mixed(a.vector, b.vector, w), mixed(a.tokens, b.tokens, w), mask, mixed(a.image, b.image, w))


def mixed(a: Tensor | None, b: Tensor | None, w: Tensor) -> Tensor | None:
    """`(1 - w) a + w b` with w `(B,)`."""
    return None if a is None or b is None else torch.lerp(a, b, w.to(a).view(-1, *[1] * (a.ndim - 1)))
