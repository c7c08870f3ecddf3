"""Inception v3 as a feature network. Szegedy et al. 2016 (arXiv:1512.00567).

With the traits of the TensorFlow graph of 2015-12-05 that published FIDs rest on: average pooling leaves padding out,
the last block pools by maximum, and images are resized the TensorFlow 1 way.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE = 299


def resize_tensorflow1(images: Tensor, side: int) -> Tensor:
    """Resize (N, C, H, W) to (N, C, side, side) bilinearly, as TensorFlow 1 did.

    Output pixel i reads the input at i * H / side: no half-pixel shift, no antialiasing, unlike torch's own modes.
    """
    for dim, shape in ((3, (-1,)), (2, (-1, 1))):
        size = images.shape[dim]
        at = torch.arange(side, dtype=images.dtype, device=images.device) * (size / side)
        low = at.long()
        near, far = images.index_select(dim, low), images.index_select(dim, (low + 1).clamp_max(size - 1))
        images = near + (far - near) * (at - low).view(shape)
    return images


def average_pool(x: Tensor) -> Tensor:
    """Mean of the pixels of the 3x3 neighbourhood that lie in the image."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def max_pool(x: Tensor) -> Tensor:
    """Maximum of the 3x3 neighbourhood."""
    return F.max_pool2d(x, 3, stride=1, padding=1)


class Unit(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int | tuple[int, int] = 1, stride: int = 1, pad: bool = True
    ) -> None:
        super().__init__()
        padding = "same" if pad and stride == 1 else "valid"
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(channels_out, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', H', W')."""
        return F.relu(self.bn(self.conv(x)))


class MixedA(nn.Module):
    """35x35 grid: figure 5 of Szegedy et al., but for one 5x5 convolution that stayed whole."""

    def __init__(self, width: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = Unit(width, 64)
        self.branch5x5_1, self.branch5x5_2 = Unit(width, 48), Unit(48, 64, 5)
        self.branch3x3dbl_1, self.branch3x3dbl_2, self.branch3x3dbl_3 = (
            Unit(width, 64),
            Unit(64, 96, 3),
            Unit(96, 96, 3),
        )
        self.branch_pool = Unit(width, pooled)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, 35, 35) -> (N, 224 + pooled, 35, 35)."""
        five = self.branch5x5_2(self.branch5x5_1(x))
        three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat((self.branch1x1(x), five, three, self.branch_pool(average_pool(x))), 1)


class MixedB(nn.Module):
    """From the 35x35 to the 17x17 grid: figure 10."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch3x3 = Unit(width, 384, 3, 2)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = Unit(width, 64), Unit(64, 96, 3)
        self.branch3x3dbl_3 = Unit(96, 96, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, 35, 35) -> (N, width + 480, 17, 17)."""
        twice = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat((self.branch3x3(x), twice, F.max_pool2d(x, 3, 2)), 1)


class MixedC(nn.Module):
    """17x17 grid, 7x7 convolutions as rows and columns: figure 6."""

    def __init__(self, narrow: int) -> None:
        super().__init__()
        row, column = (1, 7), (7, 1)
        self.branch1x1 = Unit(768, 192)
        self.branch7x7_1, self.branch7x7_2 = Unit(768, narrow), Unit(narrow, narrow, row)
        self.branch7x7_3 = Unit(narrow, 192, column)
        self.branch7x7dbl_1, self.branch7x7dbl_2 = Unit(768, narrow), Unit(narrow, narrow, column)
        self.branch7x7dbl_3, self.branch7x7dbl_4 = Unit(narrow, narrow, row), Unit(narrow, narrow, column)
        self.branch7x7dbl_5 = Unit(narrow, 192, row)
        self.branch_pool = Unit(768, 192)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 768, 17, 17) -> (N, 768, 17, 17)."""
        once = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        twice = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        twice = self.branch7x7dbl_5(self.branch7x7dbl_4(twice))
        return torch.cat((self.branch1x1(x), once, twice, self.branch_pool(average_pool(x))), 1)


class MixedD(nn.Module):
    """From the 17x17 to the 8x8 grid."""

    def __init__(self) -> None:
        super().__init__()
        self.branch3x3_1, self.branch3x3_2 = Unit(768, 192), Unit(192, 320, 3, 2)
        self.branch7x7x3_1, self.branch7x7x3_2 = Unit(768, 192), Unit(192, 192, (1, 7))
        self.branch7x7x3_3, self.branch7x7x3_4 = Unit(192, 192, (7, 1)), Unit(192, 192, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 768, 17, 17) -> (N, 1280, 8, 8)."""
        three = self.branch3x3_2(self.branch3x3_1(x))
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat((three, seven, F.max_pool2d(x, 3, 2)), 1)


class MixedE(nn.Module):
    """8x8 grid, with branches that fork: figure 7."""

    def __init__(self, width: int, pool: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        row, column = (1, 3), (3, 1)
        self.pool = pool
        self.branch1x1 = Unit(width, 320)
        self.branch3x3_1 = Unit(width, 384)
        self.branch3x3_2a, self.branch3x3_2b = Unit(384, 384, row), Unit(384, 384, column)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = Unit(width, 448), Unit(448, 384, 3)
        self.branch3x3dbl_3a, self.branch3x3dbl_3b = Unit(384, 384, row), Unit(384, 384, column)
        self.branch_pool = Unit(width, 192)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, 8, 8) -> (N, 2048, 8, 8)."""
        once = self.branch3x3_1(x)
        twice = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        forks = (
            self.branch3x3_2a(once),
            self.branch3x3_2b(once),
            self.branch3x3dbl_3a(twice),
            self.branch3x3dbl_3b(twice),
        )
        return torch.cat((self.branch1x1(x), *forks, self.branch_pool(self.pool(x))), 1)


class InceptionNetwork(nn.Module):
    """Inception v3 up to its last average; its parameters are named as in the published file."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Unit(3, 32, 3, 2)
        self.Conv2d_2a_3x3 = Unit(32, 32, 3, pad=False)
        self.Conv2d_2b_3x3 = Unit(32, 64, 3)
        self.Conv2d_3b_1x1 = Unit(64, 80)
        self.Conv2d_4a_3x3 = Unit(80, 192, 3, pad=False)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = MixedA(192, 32), MixedA(256, 64), MixedA(288, 64)
        self.Mixed_6a = MixedB(288)
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = MixedC(128), MixedC(160), MixedC(160), MixedC(192)
        self.Mixed_7a = MixedD()
        self.Mixed_7b, self.Mixed_7c = MixedE(1280, average_pool), MixedE(2048, max_pool)
        self.fc = nn.Linear(2048, 1008)  # unused: the published file has it

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Features of RGB images (N, 3, H, W) in 0..255: `pool` (N, 2048)."""
        x = (resize_tensorflow1(images, SIDE) - 128) / 128
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))  # (N, 64, 147, 147)
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))  # (N, 192, 71, 71)
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(F.max_pool2d(x, 3, 2))))  # (N, 288, 35, 35)
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))  # (N, 768, 17, 17)
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))  # (N, 2048, 8, 8)
        return {"pool": x.mean((2, 3))}
