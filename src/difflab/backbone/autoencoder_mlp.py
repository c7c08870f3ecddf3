"""The autoencoder of points: a perceptron to latents and one back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from difflab.backbone.autoencoder import LOG_VAR
from difflab.backbone.book import Classes
from difflab.backbone.mlp import Block, random_waves
from difflab.backbone.ranges import ClassCount, Depth, Width


class Perceptron(nn.Module):
    """`leave(SiLU(blocks(enter([x, sin(W x + b)]))))`, which reads points as `MLP` does."""

    def __init__(self, size: int, out: int, width: int, depth: int, conditioned: bool) -> None:
        super().__init__()
        self.waves = random_waves(size, width // 2)
        self.enter = nn.Linear(size + width // 2, width)
        self.blocks = nn.ModuleList(Block(width, conditioned) for _ in range(depth))
        self.leave = nn.Linear(width, out)

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """(B, size), (B, width) or None -> (B, out), in the dtype of x also under autocast."""
        h: Tensor = self.enter(torch.cat([x, self.waves(x).sin()], dim=1))
        for block in self.blocks:
            h = block(h, condition)
        h = self.leave(F.silu(h))
        return h.to(x.dtype)


class AutoencoderMLP(nn.Module):
    """Points `(D,)` to the mean and the log-variance of latents `(latents,)`, and back, as `Autoencoder` does images.

    Both ways are residual perceptrons, as `MLP` is; see there for its papers. The log-variance is kept in -30..20.

    - `shape`: (D,) of the samples, of about unit variance;
    - `classes`: 0 for none, else blocks are conditioned on the class;
    - `latents`: how many numbers a point is described by;
    - `width`: of every hidden layer;
    - `depth`: residual blocks of two layers each, in either direction.

    Raises ValueError if the shape is no point's, if the width is odd, and without latents.
    """

    def __init__(
        self, shape: Sequence[Width], classes: ClassCount = 0, latents: Width = 2, width: Width = 128, depth: Depth = 3
    ) -> None:
        super().__init__()
        if len(shape) != 1:
            raise ValueError(f"shape {list(shape)} is an image, not a point: choose backbone=autoencoder")
        if width % 2 or latents < 1:
            raise ValueError(f"width={width}, latents={latents}: an autoencoder needs an even width, and latents")
        (size,) = shape
        self.shape, self.classes, self.latent_shape = tuple(shape), classes, (latents,)
        self.table = Classes(classes, width) if classes else None
        self.encoder = Perceptron(size, 2 * latents, width, depth, bool(classes))
        self.decoder = Perceptron(latents, size, width, depth, bool(classes))

    @property
    def outer_layers(self) -> tuple[nn.Module, ...]:
        """The layers that read points, latents and labels, and those that make them."""
        table = () if self.table is None else (self.table,)
        ends = ((way.waves, way.enter, way.leave) for way in (self.encoder, self.decoder))
        return (*table, *(layer for way in ends for layer in way))

    def encode(self, x: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and the log-variance of the latents of points `(B, D)`, each `(B, latents)`."""
        mean, log_var = self.encoder(x, self.condition(label)).chunk(2, dim=1)
        return mean, log_var.clamp(*LOG_VAR)

    def decode(self, z: Tensor, label: Tensor) -> Tensor:
        """The points of latents `(B, latents)`: `(B, D)`."""
        x: Tensor = self.decoder(z, self.condition(label))
        return x

    def condition(self, label: Tensor) -> Tensor | None:
        """What the blocks see of the class; None without classes."""
        return None if self.table is None else F.silu(self.table(label).vector)
