"""Generators: networks from a flat latent vector to a sample, for paradigm=gan."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from difflab.backbone.autoencoder import Tower
from difflab.backbone.book import Classes
from difflab.backbone.layers import ResidualBlock, ScaleShift, Upsample, group_norm, image_shape
from difflab.backbone.ranges import ClassCount, Depth, Width


class Unflatten(nn.Module):
    """A linear layer from a latent vector to the coarsest feature maps."""

    def __init__(self, latent: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.shape, self.linear = shape, nn.Linear(latent, shape[0] * shape[1] * shape[2])

    def forward(self, z: Tensor) -> Tensor:
        """(B, latent) -> (B, C, h, w)."""
        return self.linear(z).unflatten(1, self.shape).to(memory_format=torch.channels_last)  # type: ignore[no-any-return]


class ConvGenerator(nn.Module):
    """Images `(C, H, W)` of a latent vector `(latent,)`, by residual blocks between doublings of the resolution.

    The latent vector is the input, and scales and shifts the normalised maps of each block, as in Brock et al. 2019
    (arXiv:1809.11096), whose blocks read a part of it each.

    - `classes`: 0 for none, else the scales and shifts depend on the class, too;
    - `width`: channels of the finest level, of which level i has `multipliers[i]` times;
    - `blocks`: residual blocks of a level; `groups`: of the normalisations, None for 16 channels each.

    Raises ValueError for a shape that is no image or that the levels do not divide.
    """

    def __init__(
        self,
        shape: Sequence[Width],
        classes: ClassCount = 0,
        latent: Width = 64,
        width: Width = 32,
        multipliers: Sequence[Width] = (1, 2, 4),
        blocks: Depth = 1,
        groups: Width | None = None,
    ) -> None:
        super().__init__()
        depth, height, breadth = image_shape(shape)
        factor = 2 ** (len(multipliers) - 1)
        if not multipliers or blocks < 1 or latent < 1 or height % factor or breadth % factor:
            raise ValueError(
                f"multipliers={list(multipliers)}, blocks={blocks}, latent={latent}: a generator needs one or more of "
                f"each, and no more multipliers than images of {height}x{breadth} can be halved"
            )
        self.shape, self.classes, self.latent_shape = tuple(shape), classes, (latent,)
        features = 4 * width
        self.table = Classes(classes, features) if classes else None
        self.style = nn.Linear(latent, features)
        block = partial(ResidualBlock, features=features, modulation=ScaleShift, groups=groups, dropout=0.0)
        widths = [width * m for m in multipliers][::-1]
        levels = [
            [block(source, w), *(block(w, w) for _ in range(blocks - 1))]
            for source, w in zip([widths[0], *widths], widths, strict=False)
        ]
        self.decoder = Tower(
            Unflatten(latent, (widths[0], height // factor, breadth // factor)),
            levels,
            [Upsample(w) for w in widths[:-1]],
            [],
            nn.Sequential(group_norm(widths[-1], groups), nn.SiLU(), nn.Conv2d(widths[-1], depth, 3, padding=1)),
            middle_first=True,
        )
        nn.utils.convert_conv2d_weight_memory_format(self, torch.channels_last)

    @property
    def outer_layers(self) -> tuple[nn.Module, ...]:
        """The layers that read the latents and labels, and the one that makes the image."""
        table = () if self.table is None else (self.table,)
        return (*table, self.style, self.decoder.enter, self.decoder.leave)

    def decode(self, z: Tensor, label: Tensor) -> Tensor:
        """The images `(B, C, H, W)` of latents `(B, latent)`."""
        style = self.style(z)
        condition = F.silu(style if self.table is None else style + self.table(label).vector)
        x: Tensor = self.decoder(z, condition).to(z.dtype)
        return x


class MLPGenerator(nn.Module):
    """Points `(D,)` of a latent vector `(latent,)`: a perceptron of `depth` hidden layers.

    The class's vector is added to the first of them. Raises ValueError if the shape is no point's.
    """

    def __init__(
        self, shape: Sequence[Width], classes: ClassCount = 0, latent: Width = 2, width: Width = 128, depth: Depth = 3
    ) -> None:
        super().__init__()
        if len(shape) != 1 or depth < 1:
            raise ValueError(
                f"backbone=mlp_generator makes points by one hidden layer or more, not shape {list(shape)} by "
                f"depth={depth}: choose backbone=conv_generator for images"
            )
        self.shape, self.classes, self.latent_shape = tuple(shape), classes, (latent,)
        self.table = Classes(classes, width) if classes else None
        self.enter = nn.Linear(latent, width)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(depth - 1))
        self.leave = nn.Linear(width, shape[0])

    @property
    def outer_layers(self) -> tuple[nn.Module, ...]:
        """The layers that read the latents and labels, and the one that makes the point."""
        table = () if self.table is None else (self.table,)
        return (*table, self.enter, self.leave)

    def decode(self, z: Tensor, label: Tensor) -> Tensor:
        """The points `(B, D)` of latents `(B, latent)`."""
        h: Tensor = self.enter(z)
        h = F.silu(h if self.table is None else h + self.table(label).vector)
        for layer in self.hidden:
            h = F.silu(layer(h))
        x: Tensor = self.leave(h).to(z.dtype)
        return x
