"""How near images are to the true ones, pixel for pixel."""

from __future__ import annotations

from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio


def psnr(x: Tensor, truth: Tensor, extent: float = 2.0) -> Tensor:
    """The peak signal-to-noise ratio of each image, `10 log10(extent^2 / mean squared error)`, in dB: shape `(N,)`.

    Images `(N, *)` with values in a range as wide as `extent`: 2 for [-1, 1]. Equal images give infinity.
    """
    each = tuple(range(1, x.ndim))
    ratio: Tensor = peak_signal_noise_ratio(x.double(), truth.double(), extent, reduction="none", dim=each)
    return ratio
