"""How near images are to the true ones, pixel for pixel."""

from __future__ import annotations

from torch import Tensor


def psnr(x: Tensor, truth: Tensor, extent: float = 2.0) -> Tensor:
    """The peak signal-to-noise ratio of each image, `10 log10(extent^2 / mean squared error)`, in dB: shape `(N,)`.

    Images `(N, *)` with values in a range as wide as `extent`: 2 for [-1, 1]. Equal images give infinity.
    """
    error = (x.double() - truth.double()).square().flatten(1).mean(1)
    return 10 * (extent**2 / error).log10()
