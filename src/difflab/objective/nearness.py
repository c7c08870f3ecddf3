"""How near images are to the true ones, pixel for pixel."""

from __future__ import annotations

from typing import cast

from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

SIDE = 11  # pixels of the window of SSIM, which images must have
WIDTH = 2.0  # of the range [-1, 1]


def psnr(x: Tensor, truth: Tensor) -> Tensor:
    """The peak signal-to-noise ratio of each image, `10 log10(2^2 / mean squared error)`, in dB: shape `(N,)`.

    Images `(N, *)` with values in [-1, 1], whose width is 2. Equal images give infinity.
    """
    return 10 * (WIDTH**2 / (x - truth).square().flatten(1).mean(1)).log10()


def ssim(x: Tensor, truth: Tensor) -> Tensor:
    """The structural similarity of each image with the true one, 1 for equal ones: shape `(N,)`.

    The mean over places, by a Gaussian window of std 1.5, of `(2 m n + C1) (2 c + C2) / ((m^2 + n^2 + C1) (v + w +
    C2))` with the means m and n, the variances v and w and the covariance c, `C1 = 0.01^2`, `C2 = 0.03^2`: Wang et al.
    2004, eq. 13. Its first factor compares amounts of light, so that the images `(N, C, H, W)`, whose values lie in
    [-1, 1], are brought to [0, 1], where 0 is black.
    """
    light, true = (x + 1) / WIDTH, (truth + 1) / WIDTH
    return cast(Tensor, structural_similarity_index_measure(light, true, data_range=1.0, reduction="none")).reshape(-1)


def nearness(x: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """`psnr` and, of images with SIDE pixels a side, `ssim`; each of shape `(N,)`."""
    found = {"psnr": psnr(x, truth)}
    if x.ndim == 4 and min(x.shape[2:]) >= SIDE:
        found["ssim"] = ssim(x, truth)
    return found
