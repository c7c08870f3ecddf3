"""First stages: an encoder to the space that another model works in, and the decoder back."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Protocol, cast

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


class FirstStage(nn.Module):
    """`q(z | x) = N(mean(x), var(x))`, and a decoder from `z` to `x`.

    Rombach et al. 2022 (arXiv:2112.10752), section 3.1. Raises ValueError for a network without latents.
    """

    is_network = True

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        network = latent_network(backbone)
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


def latent_network(backbone: nn.Module) -> LatentNetwork:
    """The backbone as a network with latents. Raises ValueError if it has none."""
    if not hasattr(backbone, "latent_shape"):
        raise ValueError(
            f"{type(backbone).__name__} has no latents: choose backbone=autoencoder for images, "
            f"backbone=autoencoder_mlp for points, or another paradigm"
        )
    return cast(LatentNetwork, backbone)


def kl_to_standard_normal(mean: Tensor, log_var: Tensor) -> Tensor:
    """`KL(N(mean, exp(log_var)) || N(0, I))` in nats, summed over each sample: shape `(B,)`."""
    return (0.5 * (mean**2 + log_var.exp() - log_var - 1)).flatten(1).sum(1)
