"""The stages of a U-Net, and its levels on the way down and up."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from difflab.backbone.attention import SelfAttention, SpatialTransformer
from difflab.backbone.book import Entry
from difflab.backbone.layers import Block, ResidualBlock


class Stage(Block):
    """A residual block and what follows it: self-attention, a transformer block that reads a text too, or nothing."""

    def __init__(
        self, block: ResidualBlock, attention: SelfAttention | None = None, cross: SpatialTransformer | None = None
    ) -> None:
        super().__init__()
        self.block = block
        self.attention = attention or nn.Identity()
        self.cross = cross

    def through(self, x: Tensor, condition: Entry) -> Tensor:
        """(B, C, H, W) and the condition, its vector (B, features) -> (B, C', H, W)."""
        h: Tensor = self.attention(self.block(x, condition.vector))
        return h if self.cross is None else self.cross(h, condition.tokens, condition.mask)


class Down(nn.Module):
    """One level on the way down: an entry convolution, then stages; it returns what each of them put out."""

    def __init__(self, enter: nn.Module, stages: Iterable[Stage]) -> None:
        super().__init__()
        self.enter = enter
        self.stages = nn.ModuleList(stages)

    def forward(self, h: Tensor, condition: Entry) -> list[Tensor]:
        """(B, C, H, W) and the condition -> 1 + blocks tensors of (B, ., H', W')."""
        skips = [self.enter(h)]
        for stage in self.stages:
            skips.append(stage(skips[-1], condition))
        return skips


class Up(nn.Module):
    """One level on the way up: stages, each of which also reads one output of the same level's `Down`, then an exit."""

    def __init__(self, stages: Iterable[Stage], leave: nn.Module) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.leave = leave

    def forward(self, h: Tensor, skips: list[Tensor], condition: Entry) -> Tensor:
        """(B, C, H, W), 1 + blocks tensors of (B, ., H, W), and the condition -> (B, C', H', W')."""
        for stage, skip in zip(self.stages, reversed(skips), strict=True):
            h = stage(torch.cat([h, skip], dim=1), condition)
        h = self.leave(h)
        return h
