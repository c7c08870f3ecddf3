"""The filter of preconditioned Langevin dynamics."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Preconditioner:
    """A filter `M` of images: `gain` at frequencies up to `radius`, of which 1 is the highest along an axis, else 1.

    The low frequencies of images vary the most and take the most updates to settle, so they take longer steps. In Ma
    et al. 2022 (arXiv:2207.02196) the filter is made from the mean spectrum of the data; this one asks for no data.
    """

    radius: float = 0.4
    gain: float = 1.25

    def __post_init__(self) -> None:
        if not (self.radius > 0 and self.gain > 0):
            raise ValueError(f"sampler.precondition: radius={self.radius} and gain={self.gain} must be positive")

    def __call__(self, x: Tensor) -> Tensor:
        """`M x`, where M is its own transpose. Raises ValueError unless `x` is of shape `(B, C, H, W)`."""
        if x.ndim != 4:
            raise ValueError("only images have frequencies to precondition: choose sampler.precondition=null")
        height, width = x.shape[-2:]
        rows, columns = torch.fft.fftfreq(height, device=x.device), torch.fft.rfftfreq(width, device=x.device)
        filter = torch.where(torch.hypot(rows[:, None], columns) <= self.radius / 2, self.gain, 1.0)
        filtered: Tensor = torch.fft.irfft2(filter * torch.fft.rfft2(x), s=(height, width))
        return filtered
