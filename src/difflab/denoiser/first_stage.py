"""First stages: an encoder to the space that another model works in, and the decoder back."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from difflab.process.schedule import Linear


class LatentNetwork(Protocol):
    """A network between samples and latents; see `difflab.backbone.Autoencoder` and `AutoencoderMLP`."""

    shape: Sequence[int]
    classes: int
    latent_shape: tuple[int, ...]

    def encode(self, x: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and the log-variance of the latents."""

    def decode(self, z: Tensor, label: Tensor) -> Tensor:
        """The samples of latents."""


Draw = Callable[[Tensor, int], Tensor]  # noise(x, k): the k-th draw of standard normal noise like x


class FirstStage(nn.Module):
    """`q(z | x) = N(mean(x), var(x))`, and a decoder from `z` to `x`.

    Rombach et al. 2022 (arXiv:2112.10752), section 3.1. Raises ValueError for a network without latents.
    """

    is_network = True

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        network = encoding_network(backbone)
        self.backbone = backbone
        self.schedule = Linear()  # of noise that it has no use for
        self.shape, self.classes, self.latent_shape = tuple(network.shape), network.classes, network.latent_shape

    @property
    def device(self) -> torch.device:
        """Where its weights lie."""
        return next(itertools.chain(self.parameters(), self.buffers())).device

    def posterior(self, x0: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and the log-variance of `q(z | x0)`, each `(B, *latent_shape)`."""
        return cast(LatentNetwork, self.backbone).encode(x0, label)

    def decode(self, z: Tensor, label: Tensor) -> Tensor:
        """The samples `(B, *shape)` of latents `(B, *latent_shape)`."""
        return cast(LatentNetwork, self.backbone).decode(z, label)

    def reconstruct(self, x0: Tensor, label: Tensor, noise: Draw | None = None) -> Tensor:
        """As `Reconstructs.reconstruct`."""
        mean, log_var = self.posterior(x0, label)
        return self.decode(drawn(mean, log_var, noise and noise(mean, 0)), label)


@runtime_checkable
class Reconstructs(Protocol):
    """A model that encodes samples and decodes them again."""

    shape: tuple[int, ...]

    def reconstruct(self, x0: Tensor, label: Tensor, noise: Draw | None = None) -> Tensor:
        """What is decoded of `x0` `(B, *shape)`: of draws of the latents, `mean + std noise`, or of their means."""


def drawn(mean: Tensor, log_var: Tensor, noise: Tensor | None) -> Tensor:
    """`mean + exp(log_var / 2) noise`; the mean where there is no noise."""
    return mean if noise is None else mean + (0.5 * log_var).exp() * noise


def first_numbers(noise: Tensor, shape: Sequence[int]) -> Tensor:
    """The first numbers of noise `(B, *)` as latents `(B, *shape)`."""
    return noise.flatten(1)[:, : math.prod(shape)].reshape(len(noise), *shape)


def check_size(latent: Sequence[int], sample: Sequence[int]) -> None:
    """Raise ValueError for latents with more numbers than a sample has, whose noise gives them theirs."""
    if math.prod(latent) > math.prod(sample):
        raise ValueError(
            f"latents of shape {list(latent)} are larger than samples of shape {list(sample)}, "
            f"whose noise they are made of: choose fewer backbone.channels or more backbone.multipliers for "
            f"images, fewer backbone.latents for points, a smaller backbone.latent for a GAN"
        )


def latent_network(backbone: nn.Module) -> LatentNetwork:
    """The backbone as a network with latents. Raises ValueError if it has none."""
    if not hasattr(backbone, "latent_shape"):
        raise ValueError(
            f"{type(backbone).__name__} has no latents: choose backbone=autoencoder for images, autoencoder_mlp for "
            f"points, for paradigm=gan also conv_generator (images) or mlp_generator (points), or another paradigm"
        )
    return cast(LatentNetwork, backbone)


def encoding_network(backbone: nn.Module) -> LatentNetwork:
    """The same with an encoder. Raises ValueError if it has none."""
    network = latent_network(backbone)
    if not hasattr(backbone, "encode"):
        raise ValueError(
            f"{type(backbone).__name__} has no encoder: choose backbone=autoencoder, or paradigm=gan, which needs none"
        )
    return network


def kl_to_standard_normal(mean: Tensor, log_var: Tensor) -> Tensor:
    """`KL(N(mean, exp(log_var)) || N(0, I))` in nats, summed over each sample: shape `(B,)`."""
    return (0.5 * (mean**2 + log_var.exp() - log_var - 1)).flatten(1).sum(1)
