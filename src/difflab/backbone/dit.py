"""The diffusion transformer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from difflab.backbone.attention import attend_heads
from difflab.backbone.book import Book, Classes, DataBook, Entry, beside
from difflab.backbone.embedding import Condition
from difflab.backbone.layers import Block, image_shape, set_checkpointing, sinusoid, xavier, zeroed
from difflab.backbone.ranges import ClassCount, Depth, Width

CODE_WIDTH = 256  # of the sinusoid of the noise level, at any width of the tokens


class Modulated(nn.Module):
    """Normalisation of each token whose gain and bias the condition sets: (1 + g(condition)) norm(x) + b(condition).

    Gain and bias start at zero.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.project = zeroed(nn.Linear(width, 2 * width))

    def forward(self, tokens: Tensor, condition: Tensor) -> Tensor:
        """(B, N, width), (B, width) -> (B, N, width)."""
        gain, bias = self.project(condition)[:, None].chunk(2, dim=2)  # (B, 1, width) each
        return torch.addcmul(bias, self.norm(tokens), 1 + gain)


class Gated(Block):
    """A residual branch that the condition opens, adaLN-Zero: x + gate(condition) layer(modulated(x, condition)).

    The gate starts at zero and the block as the identity. Peebles & Xie 2023 (arXiv:2212.09748), section 3.2.
    """

    def __init__(self, width: int, layer: nn.Module) -> None:
        super().__init__()
        self.modulated = Modulated(width)
        self.layer = layer
        self.gate = zeroed(nn.Linear(width, width))

    def through(self, tokens: Tensor, condition: Tensor) -> Tensor:
        """(B, N, width), (B, width) -> (B, N, width)."""
        branch = self.layer(self.modulated(tokens, condition))
        return torch.addcmul(tokens, self.gate(condition)[:, None], branch)


class Attention(nn.Module):
    """Self-attention over the tokens, in heads. Vaswani et al. 2017 (arXiv:1706.03762), section 3.2."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = xavier(nn.Linear(width, 3 * width))
        self.project = xavier(nn.Linear(width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, width) -> (B, N, width)."""
        h: Tensor = self.project(attend_heads(self.qkv(tokens), self.heads))
        return h


def perceptron(width: int) -> nn.Sequential:
    """Of each token, with four times the width inside."""
    return nn.Sequential(xavier(nn.Linear(width, 4 * width)), nn.GELU("tanh"), xavier(nn.Linear(4 * width, width)))


def gated_blocks(width: int, depth: int, heads: int) -> Iterator[Gated]:
    """The blocks of a DiT: attention and perceptron in turn."""
    for _ in range(depth):
        yield Gated(width, Attention(width, heads))
        yield Gated(width, perceptron(width))


class Transformer(nn.Module):
    """Vision transformer over patches, up to the last block; `DiT` says what the settings mean.

    `labels`: the number of classes that it is conditioned on, 0 for none; `blocks`: made after the layers before them,
    so that a seed gives the weights that it gave in version 0.1; `tokens`: whether the blocks read those of the book.
    """

    positions: Tensor  # (N, width): row by row, half the width for the row, half for the column

    def __init__(
        self,
        shape: Sequence[int],
        labels: int,
        width: int,
        heads: int,
        patch: int,
        blocks: Iterable[nn.Module],
        second_time: bool = False,
        book: Callable[[int, int], Book] = Classes,
        tokens: bool = False,
    ) -> None:
        super().__init__()
        channels, height, breadth = image_shape(shape)
        if height % patch or breadth % patch:
            raise ValueError(
                f"images of {height}x{breadth} do not divide into patches of side {patch}: "
                "choose a patch that divides both sides"
            )
        if width % heads or width % 4:
            raise ValueError(f"width={width} must be a multiple of heads={heads} and of 4")

        self.shape, self.patch, self.grid = tuple(shape), patch, (height // patch, breadth // patch)
        self.condition = Condition(CODE_WIDTH, width, labels, book, second_time, tokens, images=True)
        self.enter = xavier(nn.Linear((channels + self.condition.channels) * patch**2, width))
        self.blocks = nn.ModuleList(blocks)
        self.modulated = Modulated(width)

        row, column = (sinusoid(torch.arange(side), width // 2) for side in self.grid)
        positions = torch.cat(
            [row[:, None].expand(*self.grid, -1), column.expand(*self.grid, -1)], dim=2
        )  # (H / patch, W / patch, width)
        self.register_buffer("positions", positions.flatten(0, 1), persistent=False)
        table, end = self.condition.table, self.condition.end
        started = {*table.parameters()} if isinstance(table, DataBook) else set()  # by the book itself
        started |= {*end.linear2.parameters()} if end else set()  # at zero
        for parameter in (each for each in self.condition.parameters() if each not in started):
            nn.init.normal_(parameter, std=0.02) if parameter.ndim == 2 else nn.init.zeros_(parameter)

    def tokens(self, x: Tensor, condition: Entry) -> Tensor:
        """(B, C, H, W) and the condition, its vector (B, width) -> (B, N, width), normalised."""
        patches = F.pixel_unshuffle(beside(x, condition.image), self.patch).flatten(2).mT  # (B, N, C patch^2)
        tokens = self.through(self.enter(patches) + self.positions, condition)
        normalised: Tensor = self.modulated(tokens, condition.vector)
        return normalised

    def through(self, tokens: Tensor, condition: Entry) -> Tensor:
        """What the blocks make of tokens (B, N, width)."""
        for block in self.blocks:
            tokens = block(tokens, condition.vector)
        return tokens

    def image(self, patches: Tensor) -> Tensor:
        """(B, N, C patch^2) -> (B, C, H, W)."""
        return F.pixel_shuffle(patches.mT.reshape(*patches.mT.shape[:2], *self.grid), self.patch)


class DiT(Transformer):
    """Vision transformer over patches, conditioned on noise level and label through its normalisations.

    Peebles & Xie 2023 (arXiv:2212.09748), with adaLN-Zero blocks and the initialisation of their code.

    - `shape`: (C, H, W) of the samples;
    - `classes`: how many, 0 for none; label `classes` is the null class;
    - `width`: of a token;
    - `depth`: blocks of attention and perceptron;
    - `heads`: of each attention;
    - `patch`: side of the pixel blocks that become tokens;
    - `learned_variance`: twice the output channels;
    - `second_time`: the code is `(B, 2)`, of where a step starts and of where it ends: see `FlowMap`;
    - `checkpointing`: train in less memory, for one more forward pass of each block: see `Block`;
    - `book`: what a label means, a book of vectors or of images, which are concatenated to the sample.

    Raises ValueError if the shape is no image, if the patch does not divide its sides, if the width does not divide
    into heads or into four (the sines and cosines of two coordinates), or for a book of tokens.
    """

    outside_identity: ClassVar[Sequence[str]] = ("checkpointing",)
    as_before: ClassVar[Mapping[str, object]] = {"second_time": False, "book": Classes}

    def __init__(
        self,
        shape: Sequence[Width],
        classes: ClassCount,
        width: Width = 128,
        depth: Depth = 4,
        heads: Width = 4,
        patch: Width = 2,
        learned_variance: bool = False,
        second_time: bool = False,
        checkpointing: bool = False,
        book: Callable[[int, int], Book] = Classes,
    ) -> None:
        blocks = gated_blocks(width, depth, heads)
        super().__init__(shape, classes, width, heads, patch, blocks, second_time, book)
        self.learned_variance, self.second_time = learned_variance, second_time
        self.leave = zeroed(nn.Linear(width, (1 + learned_variance) * self.shape[0] * patch**2))
        set_checkpointing(self, checkpointing)

    @property
    def classes(self) -> int:
        """How many labels have an entry in the book; the null label is one more."""
        return self.condition.classes

    @property
    def outer_layers(self) -> tuple[nn.Module, ...]:
        """The layers that read the sample, the noise level and the label, and the one that makes the output."""
        return self.condition, self.enter, self.leave

    def forward(self, x: Tensor, code: Tensor, label: Tensor) -> Tensor:
        """(B, C, H, W), (B,) or (B, 2), (B,) int64 -> (B, C or 2C, H, W), in the dtype of x also under autocast."""
        return self.image(self.leave(self.tokens(x, self.condition.entry(code, label)))).to(x.dtype)
