"""The layers of backbones: the sinusoid of a number, normalisation, residual blocks, resampling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


def image_shape(shape: Sequence[int], of_points: str = "mlp") -> tuple[int, int, int]:
    """The shape as channels, height, width. Raises ValueError if it is no image's, naming the backbone `of_points`."""
    if len(shape) != 3:
        raise ValueError(f"shape {list(shape)} is a point, not an image: choose backbone={of_points}")
    channels, height, width = shape
    return channels, height, width


def zeroed(layer: Layer) -> Layer:
    """The layer with weight and bias set to zero, so that a residual branch starts as the identity."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def xavier(layer: nn.Linear) -> nn.Linear:
    """The layer with Glorot's uniform weight and no bias at first. Glorot & Bengio 2010 (AISTATS), eq. 16."""
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def group_norm(channels: int, groups: int | None = None) -> nn.GroupNorm:
    """Group normalisation with the given number of groups, by default the most that hold 16 channels or more each.

    Wu & He 2018 (arXiv:1803.08494), eq. 1.
    """
    if groups is None:  # torch's bf16 channels_last CPU kernel is 4 to 15 times slower on narrower ones
        groups = next(g for g in range(max(1, channels // 16), 0, -1) if channels % g == 0)
    return GroupNorm(groups, channels)


class GroupNorm(nn.GroupNorm):
    """torch's, which can also be differentiated in forward mode on images in channels_last; torch's own fails there."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *) -> (B, C, *)."""
        if not differentiated(x):
            return super().forward(x)
        grouped = x.reshape(len(x), self.num_groups, -1)  # (B, groups, all of a group)
        var, mean = torch.var_mean(grouped, dim=2, correction=0, keepdim=True)
        h = ((grouped - mean) * (var + self.eps).rsqrt()).reshape(x.shape)
        per_channel = (-1, *[1] * (x.ndim - 2))
        return torch.addcmul(self.bias.view(per_channel), h, self.weight.view(per_channel))


def differentiated(x: Tensor) -> bool:
    """Whether a derivative in forward mode is being taken by `x`."""
    return forward_ad.unpack_dual(x).tangent is not None  # type: ignore[no-untyped-call]


def sinusoid(code: Tensor, width: int) -> Tensor:
    """Sines, then cosines of the code at width / 2 frequencies from 1 down to 1 / 10000.

    sin(code f_i), cos(code f_i), f_i = 10000^(-i / (width / 2 - 1)); (B,) -> (B, width), in float32 or float64.
    Ho et al. 2020 (arXiv:2006.11239), appendix B, after Vaswani et al. 2017 (arXiv:1706.03762), section 3.5.
    """
    code = code.to(torch.promote_types(code.dtype, torch.float32))  # bf16 cannot tell 999 from 1000
    exponent = torch.linspace(0, 1, width // 2, dtype=code.dtype, device=code.device)
    angle = code[:, None] * 10000**-exponent
    return torch.cat([angle.sin(), angle.cos()], dim=1)


class Block(nn.Module):
    """A block of a network: `through(x, ..)` says what it computes. One block is one unit of `trainer=fsdp`.

    With `checkpointing` training keeps no inner values of it for the backward pass but computes them again there, under
    the same dropout: Chen et al. 2016 (arXiv:1604.06174), section 4.
    """

    checkpointing: bool = False
    through: Callable[..., Any]

    def forward(self, *inputs: Any) -> Any:  # noqa: ANN401  # those of `through`
        """The same, with its inner values kept or not."""
        if self.checkpointing and self.training and torch.is_grad_enabled():
            return checkpoint(self.through, *inputs, use_reentrant=False)
        return self.through(*inputs)


def set_checkpointing(network: nn.Module, on: bool) -> None:
    """Have the blocks of a network keep their inner values or not."""
    for module in network.modules():
        if isinstance(module, Block):
            module.checkpointing = on


class Shift(nn.Module):
    """Normalisation after the condition is added: norm(x + b(condition)). Ho et al. 2020 (arXiv:2006.11239)."""

    def __init__(self, channels: int, features: int, groups: int | None) -> None:
        super().__init__()
        self.norm = group_norm(channels, groups)
        self.project = nn.Linear(features, channels)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(B, C, H, W), (B, features) -> (B, C, H, W)."""
        h: Tensor = self.norm(x + self.project(condition)[:, :, None, None])
        return h


class ScaleShift(nn.Module):
    """Normalisation whose gain and bias the condition sets: (1 + g(condition)) norm(x) + b(condition).

    Perez et al. 2018 (arXiv:1709.07871); in diffusion Nichol & Dhariwal 2021 (arXiv:2102.09672), section 3.
    """

    def __init__(self, channels: int, features: int, groups: int | None) -> None:
        super().__init__()
        self.norm = group_norm(channels, groups)
        self.project = nn.Linear(features, 2 * channels)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(B, C, H, W), (B, features) -> (B, C, H, W)."""
        gain, bias = self.project(condition)[:, :, None, None].chunk(2, dim=1)  # (B, C, 1, 1) each
        return torch.addcmul(bias, self.norm(x), 1 + gain)


class ResidualBlock(nn.Module):
    """shortcut(x) + conv(dropout(SiLU(modulation(conv(SiLU(norm(x))), condition)))), both convolutions 3x3.

    The second convolution starts at zero; the shortcut is a 1x1 convolution where the number of channels changes.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        features: int,
        modulation: Callable[[int, int, int | None], nn.Module],
        groups: int | None,
        dropout: float,
    ) -> None:
        super().__init__()
        self.norm = group_norm(channels, groups)
        self.conv1 = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.modulation = modulation(out_channels, features, groups)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = zeroed(nn.Conv2d(out_channels, out_channels, 3, padding=1))
        self.shortcut = nn.Identity() if channels == out_channels else nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(B, channels, H, W), (B, features) -> (B, out_channels, H, W)."""
        h: Tensor = self.conv1(F.silu(self.norm(x)))
        h = self.dropout(F.silu(self.modulation(h, condition)))
        h = self.shortcut(x) + self.conv2(h)
        return h


class Upsample(nn.Module):
    """Nearest-neighbour doubling followed by a 3x3 convolution. Odena et al. 2016 (doi:10.23915/distill.00003)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, 2H, 2W)."""
        h: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return h
