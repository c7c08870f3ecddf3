"""How near images are to the true ones, pixel for pixel."""

from __future__ import annotations

from typing import cast

from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

SSIM_SIDE = 11  # pixels of the window of SSIM, which images must have


def psnr(x: Tensor, truth: Tensor, extent: float = 2.0) -> Tensor:
    """The peak signal-to-noise ratio of each image, `10 log10(extent^2 / mean squared error)`, in dB: shape `(N,)`.

    Images `(N, *)` with values in a range as wide as `extent`: 2 for [-1, 1]. Equal images give infinity.
    """
    each = tuple(range(1, x.ndim))
    ratio: Tensor = peak_signal_noise_ratio(x.double(), truth.double(), extent, reduction="none", dim=each)
    return ratio


def ssim(x: Tensor, truth: Tensor, extent: float = 2.0) -> Tensor:
    """The structural similarity of each image with the true one, 1 for equal ones: shape `(N,)`.

    Images `(N, C, H, W)`, values as in `psnr`. Wang et al. 2004, with a Gaussian window of std 1.5.
    """
    each = structural_similarity_index_measure(x, truth, data_range=extent, reduction="none")
    return cast(Tensor, each).reshape(-1)
