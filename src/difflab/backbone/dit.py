"""The diffusion transformer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from difflab.backbone.embedding import Condition
from difflab.backbone.layers import Block, attend_heads, image_shape, set_checkpointing, sinusoid, xavier, zeroed
from difflab.backbone.ranges import ClassCount, Depth, Width

CODE_WIDTH = 256  # of the sinusoid of the noise level, whatever the width of the tokens


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


class Transformer(nn.Module):
    """Vision transformer over patches, up to the last block; `DiT` says what the settings mean.

    `labels`: the number of classes that it is conditioned on, 0 for none.
    """

    positions: Tensor  # (N, width): row by row, half the width for the row, half for the column

    def __init__(
        self,
        shape: Sequence[int],
        labels: int,
        width: int,
        depth: int,
        heads: int,
        patch: int,
        second_time: bool = False,
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
        self.condition = Condition(CODE_WIDTH, width, labels, second_time=second_time)
        self.enter = xavier(nn.Linear(channels * patch**2, width))
        self.blocks = nn.ModuleList(
            Gated(width, layer)
            for _ in range(depth)
            for layer in (
                Attention(width, heads),
                nn.Sequential(
                    xavier(nn.Linear(width, 4 * width)), nn.GELU("tanh"), xavier(nn.Linear(4 * width, width))
                ),
            )
        )
        self.modulated = Modulated(width)

        row, column = (sinusoid(torch.arange(side), width // 2) for side in self.grid)
        positions = torch.cat(
            [row[:, None].expand(*self.grid, -1), column.expand(*self.grid, -1)], dim=2
        )  # (H / patch, W / patch, width)
        self.register_buffer("positions", positions.flatten(0, 1), persistent=False)
        for parameter in self.condition.parameters():
            nn.init.normal_(parameter, std=0.02) if parameter.ndim == 2 else nn.init.zeros_(parameter)

    def tokens(self, x: Tensor, condition: Tensor) -> Tensor:
        """(B, C, H, W), (B, width) -> (B, N, width), normalised."""
        patches = F.pixel_unshuffle(x, self.patch).flatten(2).mT  # (B, N, C patch^2)
        tokens = self.enter(patches) + self.positions
        for block in self.blocks:
            tokens = block(tokens, condition)
        normalised: Tensor = self.modulated(tokens, condition)
        return normalised


class DiT(Transformer):
    """Vision transformer over patches, conditioned on noise level and class through its normalisations.

    Peebles & Xie 2023 (arXiv:2212.09748), with adaLN-Zero blocks and the initialisation of their code.

    - `shape`: (C, H, W) of the samples;
    - `classes`: how many, 0 for none; label `classes` is the null class;
    - `width`: of a token;
    - `depth`: blocks of attention and perceptron;
    - `heads`: of each attention;
    - `patch`: side of the pixel blocks that become tokens;
    - `learned_variance`: twice the output channels;
    - `second_time`: the code is `(B, 2)`, of where a step starts and of where it ends: see `FlowMap`;
    - `checkpointing`: train in less memory, for one more forward pass of each block: see `Block`.

    Raises ValueError if the shape is no image, if the patch does not divide its sides, or if the width does not divide
    into heads or into four (the sines and cosines of two coordinates).
    """

    outside_identity: ClassVar[Sequence[str]] = ("checkpointing",)
    as_before: ClassVar[Mapping[str, object]] = {"second_time": False}

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
    ) -> None:
        super().__init__(shape, classes, width, depth, heads, patch, second_time)
        self.classes, self.learned_variance, self.second_time = classes, learned_variance, second_time
        self.leave = zeroed(nn.Linear(width, (1 + learned_variance) * self.shape[0] * patch**2))
        set_checkpointing(self, checkpointing)

    @property
    def outer_layers(self) -> tuple[nn.Module, ...]:
        """The layers that read the sample, the noise level and the label, and the one that makes the output."""
        return self.condition, self.enter, self.leave

    def forward(self, x: Tensor, code: Tensor, label: Tensor) -> Tensor:
        """(B, C, H, W), (B,) or (B, 2), (B,) int64 -> (B, C or 2C, H, W), in the dtype of x also under autocast."""
        patches = self.leave(self.tokens(x, self.condition(code, label)))  # (B, N, C or 2C patch^2)
        return F.pixel_shuffle(patches.mT.unflatten(2, self.grid), self.patch).to(x.dtype)
