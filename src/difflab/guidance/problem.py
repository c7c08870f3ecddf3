"""What is measured of an image: linear maps `A` with their transposes and pseudo-inverses.

Every operator obeys Penrose's laws: `A A+ A = A`, `A+ A A+ = A+`, and `A A+` and `A+ A` are symmetric. It is a value: a
function of its parameters and, where something is drawn, of a seed. Images are `(B, C, H, W)`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Generator, Tensor
from typing_extensions import override

from difflab.process.gaussian import scale

NONE = torch.zeros((), dtype=torch.float64)


class Operator(Protocol):
    """A linear map from images `(B, *shape)` to measurements `(B, ...)`, differentiable by autograd."""

    def __call__(self, x: Tensor) -> Tensor:
        """The measurement `A x`."""

    def pinv(self, y: Tensor, ridge: Tensor = NONE) -> Tensor:
        """`A^T (A A^T + ridge I)^-1 y`, with a ridge of shape `()` or `(B,)`; without one, the pseudo-inverse `A+ y`.

        This is the mean of `x ~ N(0, I)` given that `y = A x + sqrt(ridge) z` was measured.
        """


@dataclass(frozen=True)
class OfImages:
    """What is common to all: the shape of one image. Raises ValueError unless that is (C, H, W)."""

    shape: Sequence[int]

    def __post_init__(self) -> None:
        if len(self.shape) != 3:
            raise ValueError(f"inverse problems are about images (C, H, W), not about samples of shape {self.shape}")

    @property
    def size(self) -> int:
        """How many numbers an image has."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Denoise(OfImages):
    """`A` is the identity: the whole image is measured, and all that is to be restored is the noise on it."""

    def __call__(self, x: Tensor) -> Tensor:
        """The image."""
        return x

    def pinv(self, y: Tensor, ridge: Tensor = NONE) -> Tensor:
        """What was measured, shrunk by the ridge."""
        return scale(1 / (1 + ridge), y)


class Inpaint(OfImages):
    """`A` picks the numbers of the known pixels, `y` of shape `(B, C known)`: `A A^T = I`."""

    def known(self) -> Tensor:
        """Which pixels are known: bool `(H, W)`."""
        raise NotImplementedError

    def picked(self) -> Tensor:
        """The numbers of the known pixels: bool `(C H W,)`."""
        return self.known().expand(*self.shape).flatten()

    def __call__(self, x: Tensor) -> Tensor:
        """The known numbers."""
        return x.flatten(1)[:, self.picked().to(x.device)]

    def pinv(self, y: Tensor, ridge: Tensor = NONE) -> Tensor:
        """The known numbers where they belong, and 0 elsewhere."""
        x = y.new_zeros(len(y), self.size)
        x[:, self.picked().to(y.device)] = scale(1 / (1 + ridge), y)
        return x.view(-1, *self.shape)


@dataclass(frozen=True)
class InpaintBox(Inpaint):
    """A rectangle is lost: the rows and columns between these shares of the height and the width.

    Raises ValueError for shares out of order, and where no pixel or every pixel would be lost.
    """

    rows: tuple[float, float] = (0.25, 0.75)
    columns: tuple[float, float] = (0.25, 0.75)

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        for name, (start, end) in {"rows": self.rows, "columns": self.columns}.items():
            if not 0 <= start < end <= 1:
                raise ValueError(f"problem.{name}={[start, end]} must be two rising shares in [0, 1]")
        if self.known().all() or not self.known().any():
            raise ValueError(f"rows={self.rows}, columns={self.columns} lose no pixel of {self.shape}, or all of them")

    @override
    def known(self) -> Tensor:
        _, height, width = self.shape
        known = torch.ones(height, width, dtype=torch.bool)
        (top, bottom), (left, right) = self.rows, self.columns
        known[round(top * height) : round(bottom * height), round(left * width) : round(right * width)] = False
        return known


@dataclass(frozen=True)
class InpaintPixels(Inpaint):
    """Only a share of the pixels is known, drawn at random.

    Raises ValueError for a share outside (0, 1), and for one of less than a pixel.
    """

    share: float = 0.25
    seed: int = 0

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.share < 1 or not self.known().any():
            raise ValueError(f"problem.share={self.share} must lie in (0, 1) and leave a pixel of {self.shape} known")

    @override
    def known(self) -> Tensor:
        _, height, width = self.shape
        order = torch.randperm(height * width, generator=Generator().manual_seed(self.seed))
        return (order < round(self.share * height * width)).reshape(height, width)


@dataclass(frozen=True)
class SuperResolution(OfImages):
    """`A` averages squares of `factor` by `factor` pixels: `A A^T = I / factor^2`, and `A+` repeats each pixel.

    Raises ValueError if the factor is less than 2 or does not divide height and width.
    """

    factor: int = 2

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        _, height, width = self.shape
        if self.factor < 2 or height % self.factor or width % self.factor:
            raise ValueError(f"problem.factor={self.factor} must be 2 or more and divide {height} and {width}")

    def __call__(self, x: Tensor) -> Tensor:
        """The small images."""
        return F.avg_pool2d(x, self.factor)

    def pinv(self, y: Tensor, ridge: Tensor = NONE) -> Tensor:
        """Each pixel repeated."""
        x = y.repeat_interleave(self.factor, 2).repeat_interleave(self.factor, 3)
        return scale(1 / (1 + self.factor**2 * ridge), x)


@dataclass(frozen=True)
class Deblur(OfImages):
    """`A` blurs by a Gaussian of std `width` pixels, wrapped at the edges: frequency w keeps `exp(-width^2 |w|^2 / 2)`.

    What keeps less than `cut` is lost altogether, as in the code of Kawar et al. 2022 (arXiv:2201.11793), so that `A+`
    amplifies noise 1 / cut times at most. Raises ValueError unless width > 0 and 0 < cut < 1.
    """

    width: float = 1.5
    cut: float = 0.03

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width <= 0 or not 0 < self.cut < 1:
            raise ValueError(f"problem.width={self.width} must be positive and problem.cut={self.cut} lie in (0, 1)")

    def gain(self) -> Tensor:
        """`h` of each frequency that a real transform has: float64 `(H, W // 2 + 1)`."""
        _, height, width = self.shape
        row = torch.fft.fftfreq(height, dtype=torch.float64)[:, None]
        column = torch.fft.rfftfreq(width, dtype=torch.float64)
        h = (-2 * (math.pi * self.width) ** 2 * (row**2 + column**2)).exp()
        return torch.where(h < self.cut, 0.0, h)

    def filter(self, x: Tensor, gain: Tensor) -> Tensor:
        """Multiply the frequencies of images by `(H, W // 2 + 1)` or `(B, 1, H, W // 2 + 1)` gains."""
        filtered: Tensor = torch.fft.irfft2(torch.fft.rfft2(x) * gain.to(x), s=x.shape[-2:])
        return filtered

    def __call__(self, x: Tensor) -> Tensor:
        """The blurred images."""
        return self.filter(x, self.gain())

    def pinv(self, y: Tensor, ridge: Tensor = NONE) -> Tensor:
        """The frequencies that are left, amplified to what they were."""
        h = self.gain()
        return self.filter(y, torch.where(h > 0, h / (h**2 + ridge.cpu()[..., None, None, None]), 0.0))


@dataclass(frozen=True)
class CompressedSensing(OfImages):
    """`A` takes a share of an image's Hartley transform, drawn at random, after random signs: `A A^T = I`.

    `y` is `(B, m)` with `m = ratio C H W`: each number sees every pixel. The signs make it incoherent with images, as a
    random orthonormal matrix is, without the matrix: Do et al. 2012 (arXiv:1106.5037). Raises ValueError for a ratio
    outside (0, 1], and for one of less than a number.
    """

    ratio: float = 0.25
    seed: int = 0

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.ratio <= 1 or round(self.ratio * self.size) < 1:
            raise ValueError(f"problem.ratio={self.ratio} must lie in (0, 1] and leave a number of {self.shape}")

    def drawn(self) -> tuple[Tensor, Tensor]:
        """The signs of the pixels, float64 `(C H W,)`, and which frequencies are taken, `(m,)`."""
        generator = Generator().manual_seed(self.seed)
        signs = 2.0 * torch.randint(2, (self.size,), generator=generator).double() - 1
        return signs, torch.randperm(self.size, generator=generator)[: round(self.ratio * self.size)]

    def __call__(self, x: Tensor) -> Tensor:
        """The frequencies that are taken."""
        signs, taken = self.drawn()
        return hartley(signs.to(x) * x.flatten(1))[:, taken.to(x.device)]

    def pinv(self, y: Tensor, ridge: Tensor = NONE) -> Tensor:
        """The way back, with 0 for the other frequencies."""
        signs, taken = self.drawn()
        full = y.new_zeros(len(y), self.size)
        full[:, taken.to(y.device)] = scale(1 / (1 + ridge), y)
        return (signs.to(y) * hartley(full)).view(-1, *self.shape)


def hartley(x: Tensor) -> Tensor:
    """The Hartley transform of `(B, n)`, orthonormal and its own inverse: real minus imaginary part of Fourier's."""
    spectrum: Tensor = torch.fft.fft(x, norm="ortho")
    return spectrum.real - spectrum.imag
