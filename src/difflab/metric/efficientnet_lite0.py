"""EfficientNet-Lite0 as a feature network. Tan & Le 2019 (arXiv:1905.11946); Lite variant: no squeeze-excite, ReLU6."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

# (channels, kernel, stride, expansion, blocks)
STAGES = (
    (16, 3, 1, 1, 1),
    (24, 3, 2, 6, 2),
    (40, 5, 2, 6, 2),
    (80, 3, 2, 6, 3),
    (112, 5, 1, 6, 3),
    (192, 5, 2, 6, 4),
    (320, 3, 1, 6, 1),
)
HALVES = [stride > 1 and k == 0 for _, _, stride, _, repeats in STAGES for k in range(repeats)]  # for each block
MIDDLE = 11  # blocks up to the last one with 112 channels
SIDE = 128


class Conv(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding, for sides that the stride divides.

    The padding is kernel - stride in all; its odd part goes to the right and the bottom.
    """

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        padding, self.odd = divmod(kernel - stride, 2)
        super().__init__(channels_in, channels_out, kernel, stride, padding, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', H / stride, W / stride)."""
        return super().forward(F.pad(x, (0, self.odd, 0, self.odd)) if self.odd else x)


def norm(channels: int) -> nn.BatchNorm2d:
    """Batch norm with TensorFlow's epsilon."""
    return nn.BatchNorm2d(channels, eps=1e-3)


class Block(nn.Module):
    """Inverted residual: widen, convolve each channel, narrow. Sandler et al. 2018 (arXiv:1801.04381), section 3.3."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels_in * expansion
        self.expands, self.skips = expansion > 1, stride == 1 and channels_in == channels_out
        if self.expands:
            self._expand_conv, self._bn0 = Conv(channels_in, wide, 1), norm(wide)
        self._depthwise_conv, self._bn1 = Conv(wide, wide, kernel, stride, groups=wide), norm(wide)
        self._project_conv, self._bn2 = Conv(wide, channels_out, 1), norm(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', H / stride, W / stride)."""
        y: Tensor = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.skips else y


class Lite0Network(nn.Module):
    """Image classifier read at two depths; its parameters are named as in the published file."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = Conv(3, 32, 3, 2), norm(32)
        self._blocks, width = nn.ModuleList(), 32
        for channels, kernel, stride, expansion, repeats in STAGES:
            for i in range(repeats):
                self._blocks.append(Block(width, channels, kernel, 1 if i else stride, expansion))
                width = channels
        self._conv_head, self._bn1 = Conv(width, 1280, 1), norm(1280)
        self._fc = nn.Linear(1280, 1000)  # unused: the published file has it

    def maps(self, x: Tensor) -> list[Tensor]:
        """The feature maps at each resolution, of images (N, 3, H, W) in -1..1, as they are before it is halved."""
        h, found = F.relu6(self._bn0(self._conv_stem(x))), []
        for block, halves in zip(self._blocks, [*HALVES[1:], True], strict=True):
            h = block(h)
            found += [h] if halves else []
        return found

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Features of RGB images (N, 3, H, W) in 0..255: `block10` (N, 112) and `pool` (N, 1280)."""
        x = F.interpolate(images, (SIDE, SIDE), mode="bicubic", antialias=True).clamp(0, 255)
        x = F.relu6(self._bn0(self._conv_stem((x - 127) / 128)))  # (N, 32, 64, 64)
        for block in self._blocks[:MIDDLE]:
            x = block(x)
        middle = x.mean((2, 3))  # of (N, 112, 8, 8)
        for block in self._blocks[MIDDLE:]:
            x = block(x)
        x = F.relu6(self._bn1(self._conv_head(x)))  # (N, 1280, 4, 4)
        return {"block10": middle, "pool": x.mean((2, 3))}
