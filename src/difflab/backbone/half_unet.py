"""The U-Net as a classifier."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from difflab.backbone.attention import AttentionPool
from difflab.backbone.layers import group_norm
from difflab.backbone.ranges import ClassCount, Depth, Share, Width
from difflab.backbone.unet import Encoder


class HalfUNet(Encoder):
    """The way down and the middle of a U-Net, and attention pooling in place of the way up.

    Dhariwal & Nichol 2021 (arXiv:2105.05233), section 4. `classes` is the number of outputs; the other settings
    are those of `UNet`. Raises ValueError as `UNet` does.
    """

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
    ) -> None:
        super().__init__(
            shape, 0, width, multipliers, blocks, attention, head_channels, dropout, scale_shift, groups, patch
        )
        self.classes = classes
        deepest = self.widths[-1]
        self.norm = group_norm(deepest, groups)
        self.pool = AttentionPool(deepest, classes, deepest // (head_channels or deepest))
        nn.utils.convert_conv2d_weight_memory_format(self, torch.channels_last)

    @property
    def readout(self) -> nn.Linear:
        """The last layer, from features to logits."""
        return self.pool.project

    @property
    def outer_layers(self) -> tuple[nn.Module, ...]:
        """The layers that read the sample and the noise level, and the one that makes the logits."""
        return self.condition, self.stem, self.readout

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """(B, C, H, W), (B,) -> (B, classes), in the dtype of x also under autocast."""
        h, _ = self.descend(x, self.condition.entry(code))
        logits: Tensor = self.pool(F.silu(self.norm(h)).flatten(2).mT)
        return logits.to(x.dtype)
