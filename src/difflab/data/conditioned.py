"""Images with a condition that is more than a class: a number, or another image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from difflab.data.images import Images, Source, Split
from difflab.data.ranges import Count


@dataclass(frozen=True)
class Brightness:
    """The mean of an image's numbers, from -1, black, to 1, white: `(N, 1)`, for book=vectors."""

    def __call__(self, x: Tensor) -> Tensor:
        """uint8 (N, C, H, W) -> float (N, 1)."""
        return (x.double().flatten(1).mean(1, keepdim=True) / 127.5 - 1).float()


@dataclass(frozen=True)
class LowResolution:
    """An image at `1 / factor` of its sides, by means over squares, each mean repeated over its square.

    For super-resolution by book=images. Saharia et al. 2021 (arXiv:2104.07636), section 2, with bicubic interpolation
    in place of the repetition. Raises ValueError for a factor that does not divide the sides.
    """

    factor: Count = 2

    def __call__(self, x: Tensor) -> Tensor:
        """uint8 (N, C, H, W) -> float (N, C, H, W) in [-1, 1]."""
        if self.factor < 1 or x.shape[2] % self.factor or x.shape[3] % self.factor:
            raise ValueError(f"factor={self.factor} does not divide the sides of {x.shape[2]}x{x.shape[3]} images")
        small = F.avg_pool2d(x.float() / 127.5 - 1, self.factor)
        return F.interpolate(small, scale_factor=self.factor, mode="nearest")


@dataclass(frozen=True)
class Conditioned:
    """The images of a `source`, whose labels look up a `condition` of each: label i is that of image i.

    The condition maps stored images `(N, C, H, W)` to floats `(N, D)` or `(N, C', H, W)`. Labels of training images
    come first, then those of held-out ones. The classes of the source are not used.
    """

    source: Source
    condition: Callable[[Tensor], Tensor]

    def load(self) -> Images:
        """Load the source, and compute the conditions."""
        images = self.source.load()
        known = torch.cat([self.condition(split.x) for split in (images.train, images.test)])
        train, test = torch.split(torch.arange(len(known)), [len(images.train), len(images.test)])
        names = [" ".join(f"{value:.3g}" for value in row) for row in known.tolist()] if known.ndim == 2 else ()
        splits = Split(images.train.x, train), Split(images.test.x, test)
        return replace(images, train=splits[0], test=splits[1], names=tuple(names), lookup=known)
