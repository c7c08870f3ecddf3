"""The multimodal diffusion transformer: a stream of image patches and a stream of text, which attend to each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from difflab.backbone.attention import attend, in_heads
from difflab.backbone.book import Book, Classes, Entry
from difflab.backbone.dit import Gated, Modulated, Transformer, perceptron
from difflab.backbone.layers import Block, set_checkpointing, xavier, zeroed
from difflab.backbone.ranges import ClassCount, Depth, Width


class HeadNorm(nn.RMSNorm):
    """Each head divided by its root mean square, with a learned gain; in the type of the gain also under autocast.

    Zhang & Sennrich 2019 (arXiv:1910.07467), eq. 4.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, heads, N, D) -> the same."""
        return super().forward(x.to(self.weight.dtype)).to(x.dtype)


class Stream(nn.Module):
    """What one stream has of the joint attention: q, k and v of its tokens, and the gated way back, adaLN-Zero.

    A stream that is `read` alone, as the text of the last block, gives k and v and stays as it is. With `qk_norm` q
    and k are normalised.
    """

    def __init__(self, width: int, heads: int, qk_norm: bool, read: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.modulated = Modulated(width)
        self.query = None if read else xavier(nn.Linear(width, width))
        self.key_value = xavier(nn.Linear(width, 2 * width))
        self.query_norm = HeadNorm(width // heads, 1e-6) if qk_norm and not read else nn.Identity()
        self.key_norm = HeadNorm(width // heads, 1e-6) if qk_norm else nn.Identity()
        self.project = None if read else xavier(nn.Linear(width, width))
        self.gate = None if read else zeroed(nn.Linear(width, width))

    def forward(self, tokens: Tensor, condition: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, N, width), (B, width) -> q, k, v (B, heads, N, width / heads); of a stream that is read alone no q."""
        tokens = self.modulated(tokens, condition)
        k, v = (in_heads(part, self.heads) for part in self.key_value(tokens).chunk(2, dim=2))
        q = k[:, :, :0] if self.query is None else in_heads(self.query(tokens), self.heads)
        return self.query_norm(q), self.key_norm(k), v

    def back(self, tokens: Tensor, attended: Tensor, condition: Tensor) -> Tensor:
        """What its queries attended to (B, N, width), added: tokens + gate(condition) project(attended)."""
        if self.project is None or self.gate is None:
            return tokens
        return torch.addcmul(tokens, self.gate(condition)[:, None], self.project(attended))


class Joint(Block):
    """One attention over the tokens of image and text, of which each stream has weights of its own."""

    def __init__(self, width: int, heads: int, qk_norm: bool, last: bool) -> None:
        super().__init__()
        self.image = Stream(width, heads, qk_norm)
        self.text = Stream(width, heads, qk_norm, read=last)

    def through(self, image: Tensor, text: Tensor, condition: Tensor, seen: Tensor | None) -> tuple[Tensor, Tensor]:
        """(B, N, width), (B, L, width), (B, width), and which tokens are seen (B, 1, 1, N + L) -> both streams."""
        streams = self.image(image, condition), self.text(text, condition)
        q, k, v = (torch.cat(parts, dim=2) for parts in zip(*streams, strict=True))
        attended = attend(q, k, v, seen).transpose(1, 2).flatten(2)
        of_image, of_text = attended.tensor_split([image.shape[1]], dim=1)
        return self.image.back(image, of_image, condition), self.text.back(text, of_text, condition)


class Layer(nn.Module):
    """Joint attention, then a gated perceptron of each stream; in the last layer the text is only read."""

    def __init__(self, width: int, heads: int, qk_norm: bool, last: bool) -> None:
        super().__init__()
        self.joint = Joint(width, heads, qk_norm, last)
        self.image = Gated(width, perceptron(width))
        self.text = None if last else Gated(width, perceptron(width))

    def forward(self, image: Tensor, text: Tensor, condition: Tensor, seen: Tensor | None) -> tuple[Tensor, Tensor]:
        """As `Joint`."""
        image, text = self.joint(image, text, condition, seen)
        return self.image(image, condition), text if self.text is None else self.text(text, condition)


class MMDiT(Transformer):
    """Transformer over the patches of the image and the tokens of a text, with weights for each and joint attention.

    Esser et al. 2024 (arXiv:2403.03206), section 4 and figure 2: the pooled text is added to the embedding of the noise
    level, which modulates both streams, and the last block reads the text without changing it. Other than there, the
    padding of a text is not attended to, positions are the sines and cosines of `DiT`, and there is one text encoder,
    in the book, which is trained too.

    - `qk_norm`: normalise the heads of q and k, as section 5.3.2 does against growing logits;
    - `book`: what a label means, a book with tokens;
    - the other settings are those of `DiT`.

    Raises ValueError as `DiT` does, and for a book without tokens.
    """

    outside_identity: ClassVar[Sequence[str]] = ("checkpointing",)

    def __init__(
        self,
        shape: Sequence[Width],
        classes: ClassCount,
        width: Width = 128,
        depth: Depth = 4,
        heads: Width = 4,
        patch: Width = 2,
        qk_norm: bool = False,
        learned_variance: bool = False,
        second_time: bool = False,
        checkpointing: bool = False,
        book: Callable[[int, int], Book] = Classes,
    ) -> None:
        layers = (Layer(width, heads, qk_norm, last=k == depth - 1) for k in range(depth))
        super().__init__(shape, classes, width, heads, patch, layers, second_time, book, tokens=True)
        self.learned_variance, self.second_time = learned_variance, second_time
        self.text = xavier(nn.Linear(self.condition.token_width, width))
        self.leave = zeroed(nn.Linear(width, (1 + learned_variance) * self.shape[0] * patch**2))
        set_checkpointing(self, checkpointing)

    @property
    def classes(self) -> int:
        """How many labels have an entry in the book; the null label is one more."""
        return self.condition.classes

    @property
    def outer_layers(self) -> tuple[nn.Module, ...]:
        """The layers that read the sample, the noise level and the label, and the one that makes the output."""
        return self.condition, self.enter, self.text, self.leave

    def through(self, tokens: Tensor, condition: Entry) -> Tensor:
        """What the blocks make of the tokens of the image (B, N, width) beside those of the text."""
        text = self.text(condition.tokens)
        seen = condition.mask
        if seen is not None:
            seen = F.pad(seen, (tokens.shape[1], 0), value=True)[:, None, None]  # the whole image is
        for layer in self.blocks:
            tokens, text = layer(tokens, text, condition.vector, seen)
        return tokens

    def forward(self, x: Tensor, code: Tensor, label: Tensor) -> Tensor:
        """(B, C, H, W), (B,) or (B, 2), (B,) int64 -> (B, C or 2C, H, W), in the dtype of x also under autocast."""
        return self.image(self.leave(self.tokens(x, self.condition.entry(code, label)))).to(x.dtype)
