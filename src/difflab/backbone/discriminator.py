"""Discriminators: networks that give a sample, or each patch of it, a number, which is high for samples of the data.

`forward(x, label)` returns logits `(B, 1, h, w)` of patches, or `(B, 1)` of whole samples. None of them normalises over
a batch: the logits of a sample depend on that sample alone, as R1 and training in several processes need.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from difflab.backbone.book import Classes
from difflab.backbone.layers import group_norm, image_shape
from difflab.backbone.ranges import ClassCount, Depth, Width

SLOPE = 0.2  # of the leaky ReLUs
COARSEST = 4  # pixels of the shorter side of what the head for whole images reads


def strided(channels: int, width: int, layers: int, norm: bool) -> tuple[list[nn.Module], int]:
    """Convolutions 4x4 that halve the resolution `layers` times, and the channels of the last one.

    The channels double with each, from `width` to at most 8 times that; the first is not normalised. Isola et al. 2017
    (arXiv:1611.07004), appendix 6.1.2.
    """
    made: list[nn.Module] = []
    for k in range(layers):
        out = width * min(2**k, 8)
        made += [nn.Conv2d(channels, out, 4, stride=2, padding=1)]
        made += [group_norm(out)] if norm and k else []
        made += [nn.LeakyReLU(SLOPE)]
        channels = out
    return made, channels


class PatchDiscriminator(nn.Module):
    """A logit for each patch of an image: PatchGAN, Isola et al. 2017 (arXiv:1611.07004), appendix 6.1.2.

    `layers` convolutions with stride 2, one with stride 1, and one to the logits, all 4x4: with 1, 2, 3 layers a patch
    has 16, 34, 70 pixels a side. Group normalisation, or with `norm=False` none, stands in place of their batch
    normalisation. It does not see the label. Raises ValueError for a shape that is no image or too small an image.
    """

    classes = 0

    def __init__(self, shape: Sequence[Width], width: Width = 64, layers: Depth = 2, norm: bool = True) -> None:
        super().__init__()
        channels, height, breadth = image_shape(shape)
        if layers < 1 or min(height, breadth) // 2**layers < 3:
            raise ValueError(
                f"discriminator.layers={layers} is for images of {3 * 2 ** max(1, layers)} pixels a side or more, and "
                f"these have {height}x{breadth}: use fewer layers, 1 at least, or discriminator=conv"
            )
        down, inner = strided(channels, width, layers, norm)
        out = width * min(2**layers, 8)
        last = [nn.Conv2d(inner, out, 4, padding=1), *([group_norm(out)] if norm else []), nn.LeakyReLU(SLOPE)]
        self.shape = tuple(shape)
        self.body = nn.Sequential(*down, *last)
        self.head = nn.Conv2d(out, 1, 4, padding=1)
        nn.utils.convert_conv2d_weight_memory_format(self, torch.channels_last)

    @property
    def outer_layers(self) -> tuple[nn.Module, ...]:
        """The layer that reads the image, and the one that makes the logits."""
        return self.body[0], self.head

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """(B, C, H, W), (B,) -> (B, 1, h, w), in the dtype of x also under autocast."""
        logits: Tensor = self.head(self.body(x.to(memory_format=torch.channels_last)))
        return logits.to(x.dtype)


class Projection(nn.Module):
    """`linear(h) + <table(label), h> / sqrt(D)`, a logit of features `(B, D)` and their class.

    Miyato & Koyama 2018 (arXiv:1802.05637), section 3, and here the product over sqrt(D), so that at first the class
    has no larger part in the logit than the features. Without classes it is the linear layer alone.
    """

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, 1)
        self.table = Classes(classes, features) if classes else None

    def forward(self, h: Tensor, label: Tensor) -> Tensor:
        """(B, D), (B,) -> (B, 1)."""
        logit: Tensor = self.linear(h)
        if self.table is None:
            return logit
        vector: Tensor = self.table(label).vector
        return logit + (vector * h).sum(1, keepdim=True) / math.sqrt(h.shape[1])


class ConvDiscriminator(nn.Module):
    """A logit for a whole image: strided convolutions down to about 4x4, and a head that knows the class.

    Raises ValueError for a shape that is no image, and for sides that cannot be halved.
    """

    def __init__(self, shape: Sequence[Width], classes: ClassCount = 0, width: Width = 64, norm: bool = False) -> None:
        super().__init__()
        channels, height, breadth = image_shape(shape)
        layers = max(1, int(math.log2(min(height, breadth) / COARSEST)))
        if height % 2**layers or breadth % 2**layers:
            raise ValueError(
                f"images of {height}x{breadth} cannot be halved {layers} times: choose discriminator=patch, or data "
                f"whose sides are multiples of {2**layers}"
            )
        self.shape, self.classes = tuple(shape), classes
        down, inner = strided(channels, width, layers, norm)
        self.body = nn.Sequential(*down)
        features = 8 * width
        self.dense = nn.Linear(inner * (height >> layers) * (breadth >> layers), features)
        self.head = Projection(features, classes)
        nn.utils.convert_conv2d_weight_memory_format(self, torch.channels_last)

    @property
    def outer_layers(self) -> tuple[nn.Module, ...]:
        """The layer that reads the image, and the one that makes the logit."""
        return self.body[0], self.head

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """(B, C, H, W), (B,) -> (B, 1), in the dtype of x also under autocast."""
        h = self.body(x.to(memory_format=torch.channels_last)).flatten(1)
        logit: Tensor = self.head(F.leaky_relu(self.dense(h), SLOPE), label)
        return logit.to(x.dtype)


class MLPDiscriminator(nn.Module):
    """A logit for a point: a perceptron of `depth` hidden layers, and a head that knows the class.

    Raises ValueError if the shape is no point's.
    """

    def __init__(self, shape: Sequence[Width], classes: ClassCount = 0, width: Width = 128, depth: Depth = 3) -> None:
        super().__init__()
        if len(shape) != 1 or depth < 1:
            raise ValueError(
                f"discriminator=mlp judges points by one hidden layer or more, not shape {list(shape)} by "
                f"depth={depth}: choose discriminator=conv or patch for images"
            )
        self.shape, self.classes = tuple(shape), classes
        self.enter = nn.Linear(shape[0], width)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(depth - 1))
        self.head = Projection(width, classes)

    @property
    def outer_layers(self) -> tuple[nn.Module, ...]:
        """The layer that reads the point, and the one that makes the logit."""
        return self.enter, self.head

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """(B, D), (B,) -> (B, 1), in the dtype of x also under autocast."""
        h = F.leaky_relu(self.enter(x), SLOPE)
        for layer in self.hidden:
            h = F.leaky_relu(layer(h), SLOPE)
        logit: Tensor = self.head(h, label)
        return logit.to(x.dtype)
