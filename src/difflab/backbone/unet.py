"""The U-Net of diffusion models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from difflab.backbone.attention import SelfAttention, SpatialTransformer
from difflab.backbone.book import Book, Classes, Entry, beside
from difflab.backbone.embedding import Condition
from difflab.backbone.layers import (
    ResidualBlock,
    ScaleShift,
    Shift,
    Upsample,
    group_norm,
    image_shape,
    set_checkpointing,
    zeroed,
)
from difflab.backbone.ranges import ClassCount, Depth, Share, Width
from difflab.backbone.stages import Down, Stage, Up


class Encoder(nn.Module):
    """The half of a U-Net that looks: the way down and the middle; `UNet` says what the settings mean.

    `labels`: the number of classes that it is conditioned on, 0 for none.
    """

    def __init__(
        self,
        shape: Sequence[int],
        labels: int,
        width: int,
        multipliers: Sequence[int],
        blocks: int,
        attention: Sequence[int],
        head_channels: int | None,
        dropout: float,
        scale_shift: bool,
        groups: int | None,
        patch: int,
        second_time: bool = False,
        book: Callable[[int, int], Book] = Classes,
        cross: Sequence[int] = (),
    ) -> None:
        super().__init__()
        if not multipliers or blocks < 1 or width % 2:
            raise ValueError(
                f"multipliers={list(multipliers)}, blocks={blocks}, width={width}: "
                "a U-Net needs one or more multipliers, one or more blocks, and an even width"
            )
        channels, height, breadth = image_shape(shape)
        levels = range(len(multipliers))
        divisor = patch * 2 ** levels[-1]
        if height % divisor or breadth % divisor:
            raise ValueError(
                f"images of {height}x{breadth} do not divide by {divisor} for {len(levels)} levels with patch={patch}: "
                f"use fewer multipliers, a smaller patch, or data whose sides are multiples of {divisor}"
            )
        resolutions = [height // patch // 2**level for level in levels]
        for name, chosen in (("attention", attention), ("cross", cross)):
            if absent := sorted(set(chosen) - set(resolutions)):
                raise ValueError(
                    f"{name} at {absent} never occurs: the levels of this U-Net have {resolutions}; choose among them, "
                    f"as backbone.{name}=[{resolutions[-1]}], or [] for none"
                )
        if groups is not None and width % groups:
            raise ValueError(f"groups={groups} does not divide width={width}: use a divisor, or null for the default")

        modulation = ScaleShift if scale_shift else Shift
        self.block = partial(ResidualBlock, features=4 * width, modulation=modulation, groups=groups, dropout=dropout)
        self.attend = partial(SelfAttention, head_channels=head_channels, groups=groups)
        self.attended = [resolution in attention for resolution in resolutions]
        self.crossed = [resolution in cross for resolution in resolutions]
        self.widths = [width * multiplier for multiplier in multipliers]
        self.above = [width, *self.widths[:-1]]  # channels that come into a level from above

        self.shape = tuple(shape)
        self.condition = Condition(width, 4 * width, labels, book, second_time, tokens=bool(cross), images=True)
        context = self.condition.token_width
        self.cross = partial(SpatialTransformer, context_width=context, head_channels=head_channels, groups=groups)
        channels += self.condition.channels
        stem = nn.Sequential(nn.PixelUnshuffle(patch), nn.Conv2d(channels * patch**2, width, 3, padding=1))
        enter = [stem, *(nn.Conv2d(c, c, 3, stride=2, padding=1) for c in self.above[1:])]
        self.down = nn.ModuleList(
            Down(enter[i], self.stages(i, [self.above[i]] + [self.widths[i]] * (blocks - 1))) for i in levels
        )
        deepest = self.widths[-1]
        self.middle = nn.ModuleList(
            [self.stage(deepest, deepest, True, bool(cross)), self.stage(deepest, deepest, False, False)]
        )

    @property
    def stem(self) -> nn.Module:
        """The first convolution."""
        return cast(Down, self.down[0]).enter

    def stages(self, level: int, sources: Sequence[int]) -> list[Stage]:
        """New stages of a level, which come from so many channels each."""
        width, attended, crossed = self.widths[level], self.attended[level], self.crossed[level]
        return [self.stage(c, width, attended, crossed) for c in sources]

    def stage(self, channels: int, width: int, attended: bool, crossed: bool) -> Stage:
        """A new stage; one that is crossed has self-attention in its transformer block."""
        block = self.block(channels, width)
        return (
            Stage(block, None, self.cross(width)) if crossed else Stage(block, self.attend(width) if attended else None)
        )

    def descend(self, x: Tensor, condition: Entry) -> tuple[Tensor, list[list[Tensor]]]:
        """(B, C, H, W) and the condition -> the middle's map, and what every stage of each level put out."""
        h, skips = beside(x, condition.image).to(memory_format=torch.channels_last), []
        for down in self.down:  # (B, width * multiplier, H / patch, W / patch) after the first level, then half of that
            skips.append(down(h, condition))
            h = skips[-1][-1]
        for stage in self.middle:
            h = stage(h, condition)
        return h, skips


class UNet(Encoder):
    """U-Net of residual blocks and self-attention, conditioned on noise level and label.

    Ho et al. 2020 (arXiv:2006.11239), appendix B; scale-shift and learned variance: Nichol & Dhariwal 2021
    (arXiv:2102.09672); heads of fixed width: Dhariwal & Nichol 2021 (arXiv:2105.05233), section 3.

    - `shape`: (C, H, W) of the samples;
    - `classes`: how many, 0 for none; label `classes` is the null class;
    - `width`: channels of the first level; level i has `width * multipliers[i]` and half the resolution of level i - 1;
    - `blocks`: residual blocks of a level on the way down; there is one more on the way up;
    - `attention`: heights of the feature maps, in pixels, that have self-attention; the middle always has it;
    - `head_channels`: channels of an attention head, None for one head;
    - `dropout`: probability, inside residual blocks;
    - `scale_shift`: the condition scales and shifts after a normalisation, rather than being added before it;
    - `groups`: groups of every normalisation, None for as many as hold 16 channels each;
    - `patch`: side of the pixel blocks that become channels in front and pixels again at the end;
    - `learned_variance`: twice the output channels;
    - `second_time`: the code is `(B, 2)`, of where a step starts and of where it ends: see `FlowMap`;
    - `checkpointing`: train in less memory, for one more forward pass of each block: see `Block`;
    - `book`: what a label means; the images of a book are concatenated to the sample;
    - `cross`: heights of the feature maps that have a transformer block with cross-attention to the tokens of the book
      in place of self-attention, as in latent diffusion; the middle has one too, where there are any.

    Raises ValueError if the shape is no image, if the levels do not divide it, if a resolution in `attention` or
    `cross` does not occur, for a book with tokens and no `cross` or the other way round, if channels do not divide into
    groups or heads, or if there is no level, no block or an odd width.
    """

    outside_identity: ClassVar[Sequence[str]] = ("checkpointing",)
    as_before: ClassVar[Mapping[str, object]] = {"second_time": False, "book": Classes, "cross": []}

    def __init__(
        self,
        shape: Sequence[Width],
        classes: ClassCount,
        width: Width = 64,
        multipliers: Sequence[Width] = (1, 2, 2),
        blocks: Depth = 2,
        attention: Sequence[int] = (8,),
        head_channels: Width | None = 64,
        dropout: Share = 0.0,
        scale_shift: bool = True,
        groups: Width | None = None,
        patch: Width = 1,
        learned_variance: bool = False,
        second_time: bool = False,
        checkpointing: bool = False,
        book: Callable[[int, int], Book] = Classes,
        cross: Sequence[Width] = (),
    ) -> None:
        inner = width, multipliers, blocks, attention, head_channels, dropout, scale_shift, groups, patch
        super().__init__(shape, classes, *inner, second_time, book, cross)
        self.learned_variance, self.second_time = learned_variance, second_time
        widths, above = self.widths, self.above
        below = [*widths[1:], widths[-1]]  # channels that come into a level from below
        head = nn.Sequential(
            group_norm(widths[0], groups),
            nn.SiLU(),
            zeroed(nn.Conv2d(widths[0], (1 + learned_variance) * self.shape[0] * patch**2, 3, padding=1)),
            nn.PixelShuffle(patch),
        )
        leave = [head, *(Upsample(c) for c in widths[1:])]
        self.up = nn.ModuleList(
            Up(
                self.stages(i, [below[i] + widths[i]] + [2 * widths[i]] * (blocks - 1) + [widths[i] + above[i]]),
                leave[i],
            )
            for i in reversed(range(len(widths)))
        )
        nn.utils.convert_conv2d_weight_memory_format(self, torch.channels_last)
        set_checkpointing(self, checkpointing)

    @property
    def classes(self) -> int:
        """How many labels have an entry in the book; the null label is one more."""
        return self.condition.classes

    @property
    def outer_layers(self) -> tuple[nn.Module, ...]:
        """The layers that read the sample, the noise level and the label, and the one that makes the output."""
        return self.condition, self.stem, cast(Up, self.up[-1]).leave

    def forward(self, x: Tensor, code: Tensor, label: Tensor) -> Tensor:
        """(B, C, H, W), (B,) or (B, 2), (B,) int64 -> (B, C or 2C, H, W), in the dtype of x also under autocast."""
        condition = self.condition.entry(code, label)  # its vector (B, 4 width)
        h, skips = self.descend(x, condition)
        for up in self.up:  # twice the height and width of the level below, and (B, C or 2C, H, W) after the last
            h = up(h, skips.pop(), condition)
        return h.to(x.dtype)
