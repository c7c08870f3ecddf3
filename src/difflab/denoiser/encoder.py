"""Encoders of a hierarchical VAE: the chain `x_1 .. x_T` that is drawn upwards from a sample, by rule or learned.

Latents have the shape of the samples in every layer. The layers are the steps of a schedule: 1 is next to the data.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from difflab.denoiser.layers import Layers, Shared
from difflab.process.gaussian import Mix, bridge, scale, transition
from difflab.process.schedule import Schedule


class Drawn(NamedTuple):
    """A layer of a drawn chain, and the normal law of the layer below it, given this one, as far as that is known."""

    x: Tensor  # x_t, (B, *)
    mean: Tensor  # of x_{t-1}, (B, *)
    var: Tensor  # of x_{t-1}, (): 0 where x_{t-1} is known by its draw alone


class Chain(NamedTuple):
    """The layers 1..T of a chain, the normal law that the last was drawn from, and the chain's entropy."""

    layers: Sequence[Drawn]
    mean: Tensor  # of x_T, (B, *)
    var: Tensor  # of x_T, ()
    entropy: Tensor  # nats a dimension of q(x_1 | x_2, x0) .. q(x_{T-1} | x_T, x0), q(x_T | x0): (T,)


class Encoder(nn.Module):
    """`q(x_t | x_{t-1})` for every layer of a schedule. Raises ValueError for a schedule without steps."""

    is_learned: bool  # whether `x_t` is another thing than the schedule's mix of x0 and noise

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        if not schedule.discrete:
            raise ValueError(
                f"the layers of a hierarchical VAE are the steps of a chain, and {schedule} has none: choose "
                f"schedule=ddpm_cosine or another discrete one"
            )
        self.schedule = schedule
        self.T = round(schedule.t_max / schedule.step)

    def time(self, layer: int) -> Tensor:
        """The schedule's time of a layer; of layer 0, the data, it is 0."""
        return torch.tensor(layer * self.schedule.step, dtype=torch.float64)

    def forward(self, x0: Tensor, noise: Tensor, label: Tensor) -> Chain:
        """The chain of samples `(B, *)` and labels `(B,)` by noise `(T, B, *)`; with less noise its first layers."""
        raise NotImplementedError


def entropies(levels: Sequence[Mix]) -> Tensor:
    """The entropy of a linear chain with `q(x_t | x0) = levels[t - 1](x0, eps)`, as in `Chain.entropy`.

    Their sum is that of `q(x_1 | x0) .. q(x_T | x_{T-1})`.
    """
    variances = [*(bridge(s, t).lower for s, t in itertools.pairwise(levels)), levels[-1].sigma ** 2]
    return 0.5 * (2 * math.pi * math.e * torch.stack(variances)).log()


class FixedEncoder(Encoder):
    """`q(x_t | x_{t-1}) = N(sqrt(1 - beta_t) x_{t-1}, beta_t I)`, or what the schedule has: nothing is learned.

    Ho et al. 2020 (arXiv:2006.11239), eq. 2. Each layer is drawn at once, `q(x_t | x0)`, and the layer below has the
    law `q(x_{t-1} | x_t, x0)`: their eqs. 4 and 6.
    """

    is_learned = False

    def forward(self, x0: Tensor, noise: Tensor, label: Tensor) -> Chain:
        """The chain, in which each layer depends on its own noise alone."""
        levels = [self.schedule(self.time(k)) for k in range(len(noise) + 1)]
        layers = []
        for s, t, eps in zip(levels[:-1], levels[1:], noise, strict=True):
            below = bridge(s, t)
            layers.append(Drawn(t(x0, eps), below.mean(x0, eps), below.lower))
        top = levels[-1]
        return Chain(layers, scale(top.alpha, x0), top.sigma**2, entropies(levels[1:]))


class LearnedEncoder(Encoder):
    """`q(x_t | x_{t-1}) = N(sqrt(1 - beta_t) x_{t-1} + f(x_{t-1}, t), beta_t exp(v_t) I)`, f a network, v_t a number.

    The Markov encoder of a hierarchical VAE, Luo 2022 (arXiv:2208.11970), as a change of the `FixedEncoder`: networks
    whose last layer starts at zero, as difflab's do, start there. `layers` says whether f is one network for all layers
    or one each. A chain is drawn layer by layer.
    """

    is_learned = True

    def __init__(self, backbone: nn.Module, schedule: Schedule, layers: Layers | None = None) -> None:
        super().__init__(schedule)
        self.network = (layers or Shared())(backbone, self.T)
        self.v = nn.Parameter(torch.zeros(self.T))

    def shift(self, x: Tensor, layer: int, label: Tensor) -> Tensor:
        """`f(x_{t-1}, t)` for the layer `t`."""
        t = self.time(layer)
        code = (1000 * self.schedule.fraction(t)).to(x).expand(len(x))
        return cast(Tensor, self.network(x, t, code, label)).to(x.dtype)

    def forward(self, x0: Tensor, noise: Tensor, label: Tensor) -> Chain:
        """The chain, in which each layer depends on the noise of the layers below it, too.

        Its entropy does not depend on f: it is that of the chain without it, and is shared among the layers as there.
        """
        n, x, layers = len(noise), x0, []
        levels = [self.schedule(self.time(k)) for k in range(n + 1)]
        factors, betas = (torch.stack(each) for each in zip(*map(transition, levels, levels[1:]), strict=True))
        variances = betas.to(self.v) * self.v[:n].exp()
        for k in range(n):
            mean = scale(factors[k], x) + self.shift(x, k + 1, label)
            up = mean + scale(variances[k].sqrt(), noise[k])
            layers.append(Drawn(up, x, variances.new_zeros(())))
            x = up
        alphas = torch.stack([m.alpha for m in levels[1:]]).to(self.v)
        sigmas = alphas * (variances / alphas**2).cumsum(0).sqrt()
        return Chain(layers, mean, variances[-1], entropies([*map(Mix, alphas, sigmas)]))
