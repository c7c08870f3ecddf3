"""The text transformer: from token ids to a sequence of vectors and one vector for all of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from difflab.backbone.attention import attend_heads
from difflab.backbone.layers import Block

PADDING, START, END = 0, 1, 2  # token ids; words follow


class QuickGELU(nn.Module):
    """x sigmoid(1.702 x), which CLIP uses for GELU. Hendrycks & Gimpel 2016 (arXiv:1606.08415), section 2."""

    def forward(self, x: Tensor) -> Tensor:
        """Of each element."""
        return x * (1.702 * x).sigmoid()


def normal(layer: nn.Linear, std: float) -> nn.Linear:
    """The layer with normal weights of this deviation and no bias at first."""
    nn.init.normal_(layer.weight, std=std)
    nn.init.zeros_(layer.bias)
    return layer


class TextBlock(Block):
    """h = x + attention(norm(x)), then h + perceptron(norm(h)), with the normalisations first."""

    def __init__(self, width: int, heads: int, depth: int) -> None:
        super().__init__()
        self.heads = heads
        leaving = (2 * depth * width) ** -0.5  # 2 depth branches are added up
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = normal(nn.Linear(width, 3 * width), width**-0.5)
        self.project = normal(nn.Linear(width, width), leaving)
        enter, leave = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.perceptron = nn.Sequential(normal(enter, (2 * width) ** -0.5), QuickGELU(), normal(leave, leaving))

    def through(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, L, width) and which tokens see which, (L, L) -> (B, L, width)."""
        x = x + self.project(attend_heads(self.qkv(self.norm1(x)), self.heads, mask))
        h: Tensor = x + self.perceptron(self.norm2(x))
        return h


class TextTransformer(nn.Module):
    """Causal transformer over token ids with learned positions; the state of the end-of-text token stands for the text.

    The text encoder of CLIP: Radford et al. 2021 (arXiv:2103.00020), section 2.4, after GPT-2, with the initialisation
    of their code; biases start at zero.

    - `vocabulary`: number of token ids: 0 is padding, 1 the start, 2 the end of a text, words follow;
    - `context`: the most ids of a text, those two included;
    - `width`, `depth`, `heads`: of the vectors, the blocks and their attention.

    Raises ValueError if the width does not divide into heads, or for a vocabulary without words.
    """

    def __init__(self, vocabulary: int, context: int, width: int = 128, depth: int = 2, heads: int = 4) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width={width} of the text transformer must be a multiple of heads={heads}")
        if vocabulary <= END + 1:
            raise ValueError(f"vocabulary={vocabulary} has no words beside padding, start and end: use more than 3")
        self.vocabulary, self.context, self.width = vocabulary, context, width
        self.words = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(TextBlock(width, heads, depth) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

        nn.init.normal_(self.words.weight, std=0.02)
        nn.init.normal_(self.positions.weight, std=0.01)

    @property
    def outer_layers(self) -> tuple[nn.Module, ...]:
        """The layers that read the ids."""
        return self.words, self.positions

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L) int, L at most the context -> the sequence (B, L, width) and its end-of-text state (B, width)."""
        length = ids.shape[1]
        h = self.words(ids) + self.positions.weight[:length]
        causal = torch.ones(length, length, dtype=torch.bool, device=ids.device).tril()
        for block in self.blocks:
            h = block(h, causal)
        sequence: Tensor = self.norm(h)
        return sequence, sequence[torch.arange(len(ids), device=ids.device), end_of_text(ids)]


def end_of_text(ids: Tensor) -> Tensor:
    """(B, L) -> (B,): where the end-of-text token of each text stands first."""
    return (ids == END).int().argmax(dim=1)
