"""What scanners measure of an image: a part of its Fourier transform, or its sums along rays of a few directions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from typing_extensions import override

from difflab.guidance.problem import NONE, OfImages


@dataclass(frozen=True)
class MRI(OfImages):
    """`A` takes some columns of an image's Fourier transform `F`, orthonormal, as a magnetic resonance scanner does.

    `y` is `(B, C, H, columns, 2)`, real and imaginary parts. The columns of the lowest frequencies, a share `center` of
    all, are always taken, and others are drawn at random until `1 / acceleration` of all are: the random masks of
    Zbontar et al. 2018 (arXiv:1811.08839), section 4.3, with the number of columns fixed. The images are real, so that
    the frequency -k is the conjugate of k, and `A^T A` keeps of each frequency `g`: 1 where both are taken, 1/2 where
    one is, else 0. Raises ValueError for an acceleration below 1, a center outside (0, 1], and too few columns.
    """

    acceleration: float = 4.0
    center: float = 0.08
    seed: int = 0

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        if self.acceleration < 1 or not 0 < self.center <= 1:
            raise ValueError(
                f"problem.acceleration={self.acceleration} must be 1 or more and problem.center={self.center} lie in "
                "(0, 1]"
            )
        if round(self.shape[-1] / self.acceleration) < 1:
            raise ValueError(f"problem.acceleration={self.acceleration} leaves no column of {self.shape}")

    def taken(self) -> Tensor:
        """The columns that are measured, rising, in the order of `torch.fft`."""
        width = self.shape[-1]
        lowest = torch.fft.fftfreq(width).abs().argsort(stable=True)
        always = max(1, round(self.center * width))
        rest = lowest[always:][torch.randperm(width - always, generator=Generator().manual_seed(self.seed))]
        many = max(always, round(width / self.acceleration))
        return torch.cat([lowest[:always], rest[: many - always]]).sort().values

    def gain(self) -> Tensor:
        """The `g` of each column, float64 `(W,)`."""
        mask = torch.zeros(self.shape[-1], dtype=torch.float64)
        mask[self.taken()] = 1.0
        return (mask + mask.flip(0).roll(1)) / 2  # the column -k of k

    def __call__(self, x: Tensor) -> Tensor:
        """The columns that are taken."""
        found: Tensor = torch.fft.fft2(x, norm="ortho")[..., self.taken().to(x.device)]
        return torch.view_as_real(found)

    def pinv(self, y: Tensor, ridge: Tensor = NONE) -> Tensor:
        """`F^H (g + ridge)^-1 M^T y`, the real part: the image of what was measured, 0 for the other frequencies."""
        g = self.gain().to(y.device)
        full = torch.view_as_complex(y).new_zeros(*y.shape[:2], *self.shape[1:])
        full[..., self.taken().to(y.device)] = torch.view_as_complex(y.contiguous())
        back = g + ridge.to(g)[..., None, None, None]  # (1, 1, W) or (B, 1, 1, W)
        weights = torch.where(g > 0, 1 / back, 0.0)
        x: Tensor = torch.fft.ifft2(full * weights.to(y), norm="ortho").real
        return x


class Parts(NamedTuple):
    """A singular value decomposition `U diag(s) V^T`, float64."""

    u: Tensor  # (m, k)
    s: Tensor  # (k,)
    v: Tensor  # (n, k)


@dataclass(frozen=True)
class Tomography(OfImages):
    """`A` sums an image along parallel rays of `angles` directions in [0, pi): the Radon transform, as in X-ray CT.

    `y` is `(B, C, angles, rays)`, in units of the larger side, so that an image of ones gives at most about 1. A pixel
    is a point whose value is shared by the two rays beside it, by their distances. Singular values below a share `cut`
    of the largest are set to 0, so that `A+` amplifies noise by 1 / cut times at most.
    The decomposition takes `O(pixels^3)`, once: it is meant for images of up to 64 x 64. Raises ValueError for larger
    ones, unless 0 < cut < 1, and without an angle.
    """

    angles: int = 12
    cut: float = 0.03

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        if self.angles < 1 or not 0 < self.cut < 1:
            raise ValueError(f"problem.angles={self.angles} must be 1 or more and problem.cut={self.cut} lie in (0, 1)")
        if max(self.shape[1:]) > LARGEST:
            raise ValueError(
                f"tomography decomposes a matrix of all pixels: use {LARGEST} a side at most, not {self.shape}"
            )

    def parts(self) -> Parts:
        """The decomposition, without the singular values that are cut."""
        _, height, width = self.shape
        return decomposed(height, width, self.angles, self.cut)

    def __call__(self, x: Tensor) -> Tensor:
        """The sums along the rays."""
        u, s, v = (part.to(x) for part in self.parts())
        y: Tensor = x.flatten(2) @ v * s @ u.mT
        return y.reshape(*x.shape[:2], self.angles, -1)

    def pinv(self, y: Tensor, ridge: Tensor = NONE) -> Tensor:
        """`V s / (s^2 + ridge) U^T y`."""
        parts = self.parts()
        u, v = parts.u.to(y), parts.v.to(y)
        shrunk = parts.s / (parts.s**2 + ridge.cpu()[..., None, None])  # (1, k) or (B, 1, k)
        x: Tensor = y.flatten(2) @ u * shrunk.to(y) @ v.mT
        return x.reshape(-1, *self.shape)


LARGEST = 64  # pixels of a side


@lru_cache(maxsize=4)
def decomposed(height: int, width: int, angles: int, cut: float) -> Parts:
    """The singular value decomposition of the Radon transform, without values below `cut` times the largest."""
    u, s, vt = torch.linalg.svd(radon(height, width, angles), full_matrices=False)
    kept = s > cut * s[0]
    return Parts(u[:, kept], s[kept], vt[kept].mT.contiguous())


def radon(height: int, width: int, angles: int) -> Tensor:
    """The sums along parallel rays, a pixel apart, as a matrix `(angles rays, height width)` in float64."""
    rows = torch.arange(height, dtype=torch.float64) - (height - 1) / 2
    columns = torch.arange(width, dtype=torch.float64) - (width - 1) / 2
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    rays = math.ceil(math.hypot(height, width)) + 1
    rays += (rays - width) % 2  # so that rays of the first direction meet the columns
    matrix = torch.zeros(angles, rays, height * width, dtype=torch.float64)
    pixels = torch.arange(height * width)
    for k, angle in enumerate(directions(angles)):
        place = (x * math.cos(angle) + y * math.sin(angle)).flatten() + (rays - 1) / 2
        left = place.floor().long().clamp(0, rays - 2)
        matrix[k, left, pixels] = 1 - (place - left)
        matrix[k, left + 1, pixels] = place - left
    return matrix.flatten(0, 1) / max(height, width)


def directions(angles: int) -> Sequence[float]:
    """The directions along which a scanner's axis of rays lies, in radians: 0 is along the columns' numbers."""
    return [math.pi * k / angles for k in range(angles)]
