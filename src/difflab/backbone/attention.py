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
    slow = q.device.type == "cpu" and q.dtype == torch.bfloat16 and torch.is_grad_enabled()
    if slow or differentiated(q):
        # the fused kernels have no rule for forward mode, and the CPU's bf16 backward is several times slower than this
        # at the few hundred tokens of a U-Net; in fp32 it is two to three times faster
        scores = q / math.sqrt(q.shape[-1]) @ k.mT
        return (scores if mask is None else scores.masked_fill(~mask, -math.inf)).softmax(dim=-1) @ v
    return F.scaled_dot_product_attention(q, k, v, mask)


def attend_heads(qkv: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """Self-attention in heads over q, k and v side by side. (B, N, 3 C), (N, N) -> (B, N, C)."""
    q, k, v = qkv.reshape(*qkv.shape[:2], 3, heads, -1).permute(2, 0, 3, 1, 4).unbind()  # (B, heads, N, C / heads)
    return attend(q, k, v, mask).transpose(1, 2).flatten(2)


def in_heads(tokens: Tensor, heads: int) -> Tensor:
    """(B, N, C) -> (B, heads, N, C / heads)."""
    return tokens.reshape(*tokens.shape[:2], heads, -1).transpose(1, 2)


def number_of_heads(channels: int, head_channels: int | None) -> int:
    """How many heads of so many channels there are; None: one. Raises ValueError if they do not divide the channels."""
    if head_channels is not None and channels % head_channels:
        raise ValueError(
            f"head_channels={head_channels} does not divide the {channels} channels of an attention layer; "
            "choose a divisor, or null for one head"
        )
    return channels // (head_channels or channels)


class SelfAttention(nn.Module):
    """x + project(attend(q, k, v)) over the pixels, with q, k, v linear in norm(x); `project` starts at zero.

    `head_channels = None` is one head. Raises ValueError if the heads do not divide the channels.
    """

    def __init__(self, channels: int, head_channels: int | None, groups: int | None) -> None:
        super().__init__()
        self.heads = number_of_heads(channels, head_channels)
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
            in_heads(part, self.heads)  # (B, heads, 1 or N, C / heads)
            for part in (self.query(tokens.mean(1, keepdim=True)), *self.key_value(tokens).chunk(2, dim=2))
        )
        h: Tensor = self.project(attend(q, k, v).flatten(1))
        return h


class CrossAttention(nn.Module):
    """project(attend(q, k, v)) with q linear in the tokens x, and k and v in those of a context, which may be x."""

    def __init__(self, width: int, context_width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(context_width, 2 * width, bias=False)
        self.project = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, N, width), (B, L, context_width), and which of the L are seen (B, L) -> (B, N, width)."""
        q = in_heads(self.query(x), self.heads)
        k, v = (in_heads(part, self.heads) for part in self.key_value(context).chunk(2, dim=2))
        seen = None if mask is None else mask[:, None, None]
        h: Tensor = self.project(attend(q, k, v, seen).transpose(1, 2).flatten(2))
        return h


class GEGLU(nn.Module):
    """a GELU(b), with a and b linear in x. Shazeer 2020 (arXiv:2002.05202), eq. 6."""

    def __init__(self, width: int, out_width: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, 2 * out_width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, width) -> (B, N, out_width)."""
        a, b = self.project(x).chunk(2, dim=2)
        h: Tensor = a * F.gelu(b)
        return h


class SpatialTransformer(nn.Module):
    """x + leave(block(enter(norm(x)))): a transformer block over the pixels that also attends to the tokens of a text.

    The block adds self-attention, cross-attention and a GEGLU perceptron of four times the width, each of its
    normalised input; `leave` starts at zero. Rombach et al. 2022 (arXiv:2112.10752), section 3.3 and appendix E.2.1.
    Raises ValueError if the heads do not divide the channels.
    """

    def __init__(self, channels: int, context_width: int, head_channels: int | None, groups: int | None) -> None:
        super().__init__()
        heads = number_of_heads(channels, head_channels)
        self.norm = group_norm(channels, groups)
        self.norm.eps = 1e-6  # as in latent diffusion
        self.enter = nn.Linear(channels, channels)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(channels) for _ in range(3))
        self.self_attention = CrossAttention(channels, channels, heads)
        self.cross_attention = CrossAttention(channels, context_width, heads)
        self.perceptron = nn.Sequential(GEGLU(channels, 4 * channels), nn.Linear(4 * channels, channels))
        self.leave = zeroed(nn.Linear(channels, channels))

    def forward(self, x: Tensor, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, C, H, W), (B, L, context_width), (B, L) bool -> (B, C, H, W)."""
        h = self.enter(self.norm(x).flatten(2).mT)  # (B, HW, C)
        normed = self.norm1(h)
        h = h + self.self_attention(normed, normed)
        h = h + self.cross_attention(self.norm2(h), tokens, mask)
        h = h + self.perceptron(self.norm3(h))
        return x + self.leave(h).mT.reshape(x.shape)  # type: ignore[no-any-return]
