"""Generators that turn noise into a sample at once, as flow maps whose only step goes the whole way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, cast

import torch
from torch import Tensor, nn

from difflab.denoiser.base import AnyDenoiser, Bound, Denoise, Estimate
from difflab.denoiser.first_stage import (
    Draw,
    LatentNetwork,
    check_size,
    drawn,
    encoding_network,
    first_numbers,
    kl_to_standard_normal,
    latent_network,
)
from difflab.denoiser.likelihood.decoder import bits, surprise
from difflab.process.noise import keyed
from difflab.process.schedule import Linear
from difflab.process.target import X0


class Generator(AnyDenoiser):
    """`x0 = G(z, label)`, z being the first numbers of the noise that a sample starts from.

    That is the chord of a map from noise to data, so that `sampler=ddim nfe=1` draws from it, and everything that
    draws, measures and shows samples works as for a flow map. It knows no other step: a call at any time but the last
    raises ValueError. `out` is x0. Raises ValueError for latents with more numbers than a sample has.
    """

    is_network = True
    has_density = False
    whole_way = True

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        network = latent_network(backbone)
        self.backbone = backbone
        self.schedule, self.target = Linear(), X0()
        self.shape, self.classes, self.latent_shape = tuple(network.shape), network.classes, network.latent_shape
        check_size(self.latent_shape, self.shape)

    def latent(self, noise: Tensor) -> Tensor:
        """The first numbers of noise `(B, *shape)` as latents `(B, *latent_shape)`."""
        return first_numbers(noise, self.latent_shape)

    def forward(self, x: Tensor, t: Tensor, label: Tensor, s: Tensor | None = None) -> Estimate:
        """The samples of noise `(B, *)` at the last time, for labels `(B,)`; where the step ends does not matter."""
        if bool((t < self.schedule.t_max).any()):
            raise ValueError(
                f"{type(self).__name__} makes a sample of noise in one step and knows no noise level between: it is "
                f"sampled by sampler=ddim nfe=1 grid=uniform, and has no flow that could be followed"
            )
        x0 = self.decode(self.latent(x), label)
        return Estimate(x0, x, x0)

    def decode(self, z: Tensor, label: Tensor) -> Tensor:
        """The samples `(B, *shape)` of latents `(B, *latent_shape)`."""
        return cast(LatentNetwork, self.backbone).decode(z, label)


class Elbo(NamedTuple):
    """The two parts of `-ELBO`, each of shape `(B,)`, in nats a sample."""

    reconstruction: Tensor  # E_q -log p(x | z)
    kl: Tensor  # KL(q(z | x) || N(0, I))

    @property
    def total(self) -> Tensor:
        """`-ELBO`, a bound on `-log p(x)`."""
        return self.reconstruction + self.kl


class VariationalAutoencoder(Generator):
    """A generator with an encoder: `q(z | x) = N(mean(x), var(x))`, `p(z) = N(0, I)`, `p(x | z) = N(G(z), v)`.

    Kingma & Welling 2014 (arXiv:1312.6114). `v`, one number for all pixels, is learned, as in Rybkin et al. 2021
    (arXiv:2006.13202); samples on levels have the mass of their bins, as in Ho et al. 2020 (arXiv:2006.11239), eq. 13.
    Samples are the means `G(z)`, without the noise of their pixels.
    """

    has_density = True

    def __init__(self, backbone: nn.Module) -> None:
        encoding_network(backbone)
        super().__init__(backbone)
        self.log_var = nn.Parameter(torch.tensor(-2.0))

    def posterior(self, x0: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and the log-variance of `q(z | x0)`, each `(B, *latent_shape)`."""
        return cast(LatentNetwork, self.backbone).encode(x0, label)

    def reconstruct(self, x0: Tensor, label: Tensor, noise: Draw | None = None) -> Tensor:
        """As `Reconstructs.reconstruct`."""
        mean, log_var = self.posterior(x0, label)
        return self.decode(drawn(mean, log_var, noise and noise(mean, 0)), label)

    def elbo(self, x0: Tensor, eps: Tensor, label: Tensor, levels: int | None) -> Elbo:
        """The parts of the bound, with one draw of the latents by the first numbers of `eps` `(B, *shape)`."""
        mean, log_var = self.posterior(x0, label)
        decoded = self.decode(drawn(mean, log_var, self.latent(eps)), label)
        reconstruction = surprise(x0, decoded, self.log_var.to(decoded).expand_as(decoded), levels)
        return Elbo(reconstruction.flatten(1).sum(1), kl_to_standard_normal(mean, log_var))


@dataclass(frozen=True)
class ElboBound:
    """The bound of a variational autoencoder in bits/dim, with `draws` of the latents of each sample."""

    draws: int = 4
    score: ClassVar[str] = "bits_per_dim_bound"

    @torch.no_grad()
    def __call__(self, denoise: Denoise, x0: Tensor, levels: int | None, seed: int = 0) -> Tensor:
        """The bound; shape `(B,)`."""
        bound, g = cast(Bound, denoise), keyed(seed)
        model, total = cast(VariationalAutoencoder, bound.denoiser), torch.zeros(len(x0), device=x0.device)
        for _ in range(self.draws):
            eps = torch.randn(x0.shape, generator=g).to(x0)
            total = total + model.elbo(x0, eps, bound.label, levels).total / self.draws
        return bits(total[:, None]) / x0[0].numel()
