"""Hierarchical variational autoencoders, whose reverse chain is a denoiser on the steps of a schedule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, cast

import torch
from torch import Tensor, nn

from difflab.denoiser.base import Bound, Denoise, Denoiser, Estimate
from difflab.denoiser.encoder import Chain, Encoder
from difflab.denoiser.first_stage import Draw
from difflab.denoiser.layers import Layers, Shared
from difflab.denoiser.likelihood.decoder import bits, check_levels, surprise
from difflab.process.gaussian import bridge, scale, unmix
from difflab.process.noise import keyed
from difflab.process.schedule import Schedule
from difflab.process.target import Target


class LayerElbo(NamedTuple):
    """The parts of `-ELBO`, in nats a sample."""

    reconstruction: Tensor  # E_q -log p(x0 | x_1), (B,)
    kl: Tensor  # of x_1 .. x_T, (B, T)

    @property
    def total(self) -> Tensor:
        """`-ELBO`, a bound on `-log p(x0)`; shape `(B,)`."""
        return self.reconstruction + self.kl.sum(1)


def cross_entropy(mean_q: Tensor, var_q: Tensor, mean_p: Tensor, log_var_p: Tensor) -> Tensor:
    """`-E log N(x; mean_p, var_p)` for `x ~ N(mean_q, var_q)`, per element in nats; `var_q` is `()`, 0 for a point."""
    return surprise(mean_q, mean_p, log_var_p, None) + scale(0.5 * var_q, (-log_var_p).exp())


class HierarchicalAutoencoder(Denoiser):
    """An `encoder` `q(x_t | x_{t-1})`, `p(x_T) = N(0, sigma_T^2 I)`, and `p(x_{t-1} | x_t) = N(mu(x_t, t), s_t^2 I)`.

    The layers 1..T are the steps of a discrete `schedule`. `mu` is the mean of `q(x_{t-1} | x_t, x0)` at the network's
    estimate of x0, Ho et al. 2020 (arXiv:2006.11239), eq. 7, and `log s_t^2` a number that is learned for each layer,
    from their larger choice of section 3.2 on. `layers` says whether the decoder is one network or one for each layer.
    The chain is drawn by `Ancestral(v=None)` at every step. With the `FixedEncoder` that is DDPM, which any sampler
    draws from; a `LearnedEncoder` makes other noisy samples than the schedule does, and other samplers are refused.

    Raises ValueError for a schedule that is not discrete or not the encoder's, for an encoder of other samples, and for
    a backbone that predicts a variance.
    """

    def __init__(
        self,
        backbone: nn.Module,
        schedule: Schedule,
        target: Target,
        encoder: Encoder,
        layers: Layers | None = None,
    ) -> None:
        super().__init__(backbone, schedule, target)
        if self.learned_variance:
            raise ValueError(
                "the variance of each layer is a number that is learned: choose backbone.learned_variance=false, or "
                "paradigm=improved_ddpm, whose network predicts variances"
            )
        if encoder.schedule != schedule:
            raise ValueError(f"the encoder's layers are those of {encoder.schedule}, and the decoder's of {schedule}")
        self.encoder, self.T = encoder, encoder.T
        self.backbone: nn.Module = (layers or Shared())(backbone, self.T)
        self.learned_variance, self.learned_encoder = True, encoder.is_learned
        upper = [bridge(schedule(encoder.time(k)), schedule(encoder.time(k + 1))).upper for k in range(self.T)]
        self.log_var = nn.Parameter(torch.stack(upper).log().to(torch.get_default_dtype()))

    def forward(self, x: Tensor, t: Tensor, label: Tensor, s: Tensor | None = None) -> Estimate:
        """Estimate from samples `(B, *)` at times `()` or `(B,)` and labels `(B,)`; where a step ends is not used."""
        m, n = self.schedule(t), self.target.mix(self.schedule, t)
        code = self.target.c_noise(self.schedule, t).to(x).expand(len(x))
        out = self.backbone(scale(self.target.c_in(m), x), t / self.schedule.step, code, label).to(x.dtype)
        x0, eps = unmix(x, m, out, n)
        return Estimate(x0, eps, out, scale(self.v(t), torch.ones_like(x)))

    def v(self, t: Tensor) -> Tensor:
        """Where `log s_t^2` lies between the bounds of `Bridge.log_variance`, and perhaps beyond them."""
        posterior = self.schedule.bridge((t - self.schedule.step).clamp(min=0), t)
        lower, upper = posterior.lower.log(), posterior.upper.log()
        layer = (t / self.schedule.step).round().long().clamp(1, self.T).to(self.log_var.device) - 1
        return (self.log_var[layer] - lower.to(self.log_var)) / (upper - lower).to(self.log_var)

    def below(self, x: Tensor, layer: int, label: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and the log-variance of `p(x_{t-1} | x_t)` at `x_t` of the layer `t`; both `(B, *)`."""
        s, t = self.encoder.time(layer - 1), self.encoder.time(layer)
        estimate = self(x, t, label)
        mean = bridge(self.schedule(s), self.schedule(t)).mean(estimate.x0, estimate.eps)
        return mean, self.log_var[layer - 1].to(mean).expand_as(mean)

    def elbo(self, x0: Tensor, noise: Tensor, label: Tensor, levels: int | None) -> LayerElbo:
        """The parts of the bound, for the chain that the encoder draws from samples `(B, *)` by noise `(T, B, *)`.

        With the entropies h of `Chain.entropy`::

            -ELBO = E_q [ -log p(x0 | x_1) + sum_t (-log p(x_t | x_{t+1}) - h_t) - log p(x_T) - h_T ]

        What is drawn from a known normal law is averaged over it. So with the `FixedEncoder` the terms are
        `KL(q(x_t | x_{t+1}, x0) || p(x_t | x_{t+1}))` and `KL(q(x_T | x0) || p(x_T))`: Ho et al. 2020
        (arXiv:2006.11239), eq. 5. With a `LearnedEncoder` their sum is the KL divergence of the whole chain; a single
        term is none, and can be less than 0.
        """
        chain: Chain = self.encoder(x0, noise, label)
        entropy = chain.entropy.to(x0)
        first, *others = [self.below(layer.x, k, label) for k, layer in enumerate(chain.layers, 1)]
        normal = chain.mean.new_zeros(()), self.schedule(self.encoder.time(self.T)).sigma.log().to(x0) * 2
        known = [(layer.mean, layer.var) for layer in chain.layers[1:]] + [(chain.mean, chain.var)]
        model = [*others, tuple(each.expand_as(x0) for each in normal)]
        kl = [cross_entropy(*q, *p) - h for q, p, h in zip(known, model, entropy, strict=True)]
        reconstruction = surprise(x0, *first, levels)
        return LayerElbo(reconstruction.flatten(1).sum(1), torch.stack([each.flatten(1).sum(1) for each in kl], 1))

    @torch.no_grad()
    def reconstruct(self, x0: Tensor, label: Tensor, noise: Draw | None = None, depth: int | None = None) -> Tensor:
        """What the decoder makes of samples `(B, *)` that were encoded up to the layer `depth`, None being the last.

        As `Reconstructs.reconstruct`; the last step is a mean. Raises ValueError for a depth outside 1..T.
        """
        noise = noise or (lambda x, k: torch.zeros_like(x))
        depth = self.T if depth is None else depth
        if not 1 <= depth <= self.T:
            raise ValueError(f"depth={depth} is no layer: there are 1..{self.T}")
        x = self.encoder(x0, torch.stack([noise(x0, k) for k in range(depth)]), label).layers[-1].x
        for layer in range(depth, 1, -1):
            mean, log_var = self.below(x, layer, label)
            x = mean + (0.5 * log_var).exp() * noise(x, depth + layer)
        return self.below(x, 1, label)[0]


@dataclass(frozen=True)
class HierarchicalBound:
    """The bound of a hierarchical VAE in bits/dim, with `draws` chains for each sample."""

    draws: int = 1
    score: ClassVar[str] = "bits_per_dim_bound"

    @torch.no_grad()
    def __call__(self, denoise: Denoise, x0: Tensor, levels: int | None, seed: int = 0) -> Tensor:
        """The bound; shape `(B,)`. Raises ValueError if `x0` is not on the levels."""
        check_levels(x0, levels)
        bound, g = cast(Bound, denoise), keyed(seed)
        model, total = cast(HierarchicalAutoencoder, bound.denoiser), torch.zeros(len(x0), device=x0.device)
        for _ in range(self.draws):
            noise = torch.stack([torch.randn(x0.shape, generator=g) for _ in range(model.T)])
            total = total + model.elbo(x0, noise.to(x0), bound.label, levels).total / self.draws
        return bits(total[:, None]) / x0[0].numel()
