"""Autoencoders of images: a network to latents and one back, with the topology of latent diffusion's."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from difflab.backbone.attention import SelfAttention
from difflab.backbone.book import Classes
from difflab.backbone.layers import ResidualBlock, ScaleShift, Upsample, group_norm, image_shape
from difflab.backbone.ranges import ClassCount, Depth, Width

LOG_VAR = (-30.0, 20.0)  # within which log-variances of latents are kept, as in Rombach et al. 2022's code


class Plain(nn.Module):
    """Normalisation that no condition changes."""

    def __init__(self, channels: int, features: int, groups: int | None) -> None:
        super().__init__()
        self.norm = group_norm(channels, groups)

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        h: Tensor = self.norm(x)
        return h


class Downsample(nn.Module):
    """A 3x3 convolution with stride 2, padded by one pixel at the right and below."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, 2H, 2W) -> (B, C, H, W)."""
        h: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return h


class Tower(nn.Module):
    """Levels of residual blocks, with a change of resolution between them, and the middle."""

    def __init__(
        self,
        enter: nn.Module,
        levels: Sequence[Sequence[nn.Module]],
        between: Sequence[nn.Module],
        middle: Sequence[nn.Module],
        leave: nn.Module,
        middle_first: bool,
    ) -> None:
        super().__init__()
        self.enter, self.leave, self.middle_first = enter, leave, middle_first
        self.levels = nn.ModuleList(nn.ModuleList(level) for level in levels)
        self.between, self.middle = nn.ModuleList(between), nn.ModuleList(middle)

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """Apply them in their order."""
        h: Tensor = self.enter(x)
        if self.middle_first:
            h = self.through_middle(h, condition)
        for k, level in enumerate(self.levels):
            for block in cast(nn.ModuleList, level):
                h = block(h, condition)
            if k < len(self.between):
                h = self.between[k](h)
        if not self.middle_first:
            h = self.through_middle(h, condition)
        out: Tensor = self.leave(h)
        return out

    def through_middle(self, h: Tensor, condition: Tensor | None) -> Tensor:
        """A block, attention, a block."""
        for part in self.middle:
            h = part(h) if isinstance(part, SelfAttention) else part(h, condition)
        return h


class Autoencoder(nn.Module):
    """Images `(C, H, W)` to the mean and the log-variance of latents `(channels, H / f, W / f)`, and back.

    The topology is that of Rombach et al. 2022 (arXiv:2112.10752), appendix G, with normalisations as in their code:
    residual blocks, attention with one head in the middle, and a 1x1 convolution on either side of the latents.

    - `shape`: (C, H, W) of the images; `classes`: 0 for none, else blocks are conditioned on the class;
    - `channels`: of the latents;
    - `width`: channels of the first level, of which level i has `multipliers[i]` times; each level but the first halves
      the resolution, so that `f = 2^(levels - 1)`;
    - `blocks`: residual blocks of a level of the encoder; the decoder has one more;
    - `groups`: of the normalisations, None for 16 channels each.

    Raises ValueError for a shape that is no image or that the levels do not divide.
    """

    def __init__(
        self,
        shape: Sequence[Width],
        classes: ClassCount = 0,
        channels: Width = 4,
        width: Width = 32,
        multipliers: Sequence[Width] = (1, 2, 2),
        blocks: Depth = 1,
        groups: Width | None = None,
    ) -> None:
        super().__init__()
        depth, height, breadth = image_shape(shape, of_points="autoencoder_mlp")
        factor = 2 ** (len(multipliers) - 1)
        if not multipliers or blocks < 1 or channels < 1:
            raise ValueError(
                f"multipliers={list(multipliers)}, blocks={blocks}, channels={channels}: an autoencoder needs one or "
                f"more of each"
            )
        if height % factor or breadth % factor:
            raise ValueError(
                f"images of {height}x{breadth} do not divide by {factor} for {len(multipliers)} levels: use fewer "
                f"multipliers, or data whose sides are multiples of {factor}"
            )
        self.shape, self.classes, self.factor = tuple(shape), classes, factor
        self.latent_shape = (channels, height // factor, breadth // factor)
        features = 4 * width
        self.table = Classes(classes, features) if classes else None
        block = partial(
            ResidualBlock, features=features, modulation=ScaleShift if classes else Plain, groups=groups, dropout=0.0
        )
        widths = [width * m for m in multipliers]
        self.widths, self.blocks = tuple(widths), blocks
        deepest, top = widths[-1], widths[0]

        def middle() -> list[nn.Module]:
            return [block(deepest, deepest), SelfAttention(deepest, None, groups), block(deepest, deepest)]

        def leave(inner: int, out: int) -> nn.Module:
            return nn.Sequential(group_norm(inner, groups), nn.SiLU(), nn.Conv2d(inner, out, 3, padding=1))

        down = [
            [block(source, w), *(block(w, w) for _ in range(blocks - 1))]
            for source, w in zip([top, *widths[:-1]], widths, strict=True)
        ]
        up = [
            [block(source, w), *(block(w, w) for _ in range(blocks))]
            for source, w in zip([deepest, *widths[:0:-1]], widths[::-1], strict=True)
        ]
        self.encoder = Tower(
            nn.Conv2d(depth, top, 3, padding=1),
            down,
            [Downsample(w) for w in widths[:-1]],
            middle(),
            leave(deepest, 2 * channels),
            middle_first=False,
        )
        self.decoder = Tower(
            nn.Conv2d(channels, deepest, 3, padding=1),
            up,
            [Upsample(w) for w in widths[:0:-1]],
            middle(),
            leave(top, depth),
            middle_first=True,
        )
        self.to_latents = nn.Conv2d(2 * channels, 2 * channels, 1)
        self.from_latents = nn.Conv2d(channels, channels, 1)
        for module in self.modules():
            if isinstance(module, nn.GroupNorm):
                module.eps = 1e-6
        nn.utils.convert_conv2d_weight_memory_format(self, torch.channels_last)

    @property
    def outer_layers(self) -> tuple[nn.Module, ...]:
        """The layers that read images, latents and labels, and those that make them."""
        table = () if self.table is None else (self.table,)
        ends = (self.encoder.enter, self.encoder.leave, self.decoder.enter, self.decoder.leave)
        return (*table, *ends, self.to_latents, self.from_latents)

    @property
    def readout(self) -> nn.Conv2d:
        """The last layer of the decoder."""
        return cast(nn.Conv2d, cast(nn.Sequential, self.decoder.leave)[-1])

    def encode(self, x: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and the log-variance of the latents of images `(B, C, H, W)`, each `(B, channels, h, w)`."""
        h = self.encoder(x.to(memory_format=torch.channels_last), self.condition(label))
        mean, log_var = self.to_latents(h).to(x.dtype).chunk(2, dim=1)
        return mean, log_var.clamp(*LOG_VAR)

    def decode(self, z: Tensor, label: Tensor) -> Tensor:
        """The images of latents `(B, channels, h, w)`: `(B, C, H, W)`."""
        h = self.from_latents(z.to(memory_format=torch.channels_last))
        x: Tensor = self.decoder(h, self.condition(label)).to(z.dtype)
        return x

    def condition(self, label: Tensor) -> Tensor | None:
        """What the blocks see of the class; None without classes."""
        return None if self.table is None else F.silu(self.table(label).vector)
