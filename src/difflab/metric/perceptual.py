"""Feature maps that images are compared by in training, through which gradients pass."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from difflab.metric.features import EfficientNetLite0, full_precision, lite0

SIDE = 64  # pixels that images are resized to; the network's own 128 take four times as long


class Lite0Maps:
    """The maps of EfficientNet-Lite0 at five resolutions, of images resized to 64 pixels; frozen, in float32.

    It is no Module, so that what holds it does not save its weights, and it is loaded where it is first used.
    """

    @property
    def identity(self) -> Mapping[str, object]:
        """The class, its weights and its resizing."""
        return {"class": "metric:Lite0Maps", "sha256": EfficientNetLite0.sha256, "side": SIDE}

    @cached_property
    def network(self) -> torch.nn.Module:
        """The network, which follows the images to their device."""
        return lite0()

    def __call__(self, x: Tensor) -> list[Tensor]:
        """Five maps `(B, C_l, H_l, W_l)` of images `(B, 1 or 3, H, W)` in [-1, 1]; grey counts as R = G = B.

        Raises ValueError for other samples.
        """
        if x.ndim != 4 or x.shape[1] not in (1, 3):
            raise ValueError(f"perceptual=lite0 compares images of 1 or 3 channels, not samples {tuple(x.shape[1:])}")
        with torch.autocast(x.device.type, enabled=False), full_precision():
            # -1..1 as the network has it: (255 (x + 1) / 2 - 127) / 128
            seen = F.interpolate(x.float(), (SIDE, SIDE), mode="bicubic", antialias=True) * (127.5 / 128) + 0.5 / 128
            found: list[Tensor] = self.network.to(x.device).maps(seen.expand(-1, 3, -1, -1))  # type: ignore[operator]
            return found
