"""Attention: between the pixels of a feature map, the tokens of a sequence, and from one to the other."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from difflab.backbone.layers import differentiated, group_norm, xavier, zeroed


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention softmax(q k^T / sqrt(D)) v. Vaswani et al. 2017 (arXiv:1706.03762), eq. 1.

    (..., N, D), (..., M, D), (..., M, D) -> (..., N, D). `mask`, bool and broadcast to (..., N, M), is False where a
    query does not see a key; every query must see one.
    """
    if differentiated(q) or (q.device.type == "cpu" and torch.is_grad_enabled()):
        # the fused kernels have no rule for forward mode, and the CPU's bf16 backward is several times slower than this
        # at the few hundred tokens of a U-Net
        scores = q / math.sqrt(q.shape[-1]) @ k.mT
        return (scores if mask is None else scores.masked_fill(~mask, -math.inf)).softmax(dim=-1) @ v
    return F.scaled_dot_product_attention(q, k, v, mask)


def attend_heads(qkv: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """Self-attention in heads over q, k and v side by side. (B, N, 3 C), (N, N) -> (B, N, C)."""
    q, k, v = qkv.reshape(*qkv.shape[:2], 3, heads, -1).permute(2, 0, 3, 1, 4).unbind()  # (B, heads, N, C / heads)
    return attend(q, k, v, mask).transpose(1, 2).flatten(2)


class SelfAttention(nn.Module):
    """x + project(attend(q, k, v)) over the pixels, with q, k, v linear in norm(x); `project` starts at zero.

    `head_channels = None` is one head. Raises ValueError if the heads do not divide the channels.
    """

    def __init__(self, channels: int, head_channels: int | None, groups: int | None) -> None:
        super().__init__()
        if head_channels is not None and channels % head_channels:
            raise ValueError(
                f"head_channels={head_channels} does not divide the {channels} channels of an attention layer; "
                "choose a divisor, or null for one head"
            )
        self.heads = channels // (head_channels or channels)
        self.norm = group_norm(channels, groups)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.project = zeroed(nn.Linear(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        tokens = self.norm(x).flatten(2).mT  # (B, HW, C), a view of channels_last
        h: Tensor = self.project(attend_heads(self.qkv(tokens), self.heads))  # (B, HW, C)
        return x + h.mT.reshape(x.shape)  # (B, C, H, W)


class AttentionPool(nn.Module):
    """The logits of classes from all tokens: linear in what their mean attends to.

    As in the classifier of Dhariwal & Nichol 2021 (arXiv:2105.05233), section 4, after Radford et al. 2021
    (arXiv:2103.00020), section 2.3. Raises ValueError for fewer than two classes.
    """

    def __init__(self, channels: int, classes: int, heads: int) -> None:
        super().__init__()
        if classes < 2:
            raise ValueError(f"data of {classes} classes leave nothing to tell: choose data with labels")
        self.heads = heads
        self.query = nn.Linear(channels, channels)
        self.key_value = nn.Linear(channels, 2 * channels)
        self.project = xavier(nn.Linear(channels, classes))  # zeros would take their time to learn from

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, C) -> (B, classes)."""
        q, k, v = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)  # (B, heads, 1 or N, C / heads)
            for part in (self.query(tokens.mean(1, keepdim=True)), *self.key_value(tokens).chunk(2, dim=2))
        )
        h: Tensor = self.project(attend(q, k, v).flatten(1))
        return h
