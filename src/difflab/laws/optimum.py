"""Data whose optimum is known, and models in which it takes the place of what is trained.

Of a denoiser the data are N(MEAN, VAR) in every dimension; of a classifier each class is a Gaussian of variance VAR,
its mean on a circle in the plane of the first two dimensions.
"""

from __future__ import annotations

import copy
import math
from typing import cast

import torch
from torch import Tensor, nn

from difflab.denoiser.base import AnyDenoiser, Estimate
from difflab.denoiser.classifier import AnyClassifier
from difflab.denoiser.encoder import FixedEncoder
from difflab.denoiser.exact import Mixture
from difflab.denoiser.exact_flow import ExactFlowMap
from difflab.denoiser.flow_map import FlowMap
from difflab.denoiser.hierarchical import HierarchicalAutoencoder
from difflab.laws.gaussian import MEAN, VAR, gaussian
from difflab.paradigm.base import Paradigm
from difflab.paradigm.flow_map import FlowMapMatching
from difflab.paradigm.held import Current
from difflab.process.gaussian import Mix, bridge, scale, unmix


class Optimal(AnyDenoiser):
    """The optimal denoiser of N(MEAN, VAR), whose output is in any target.

    Its clean estimate is off by `off` standard deviations of `p(x0 | x_t)`.
    """

    def __init__(self, like: AnyDenoiser, off: float) -> None:
        super().__init__()
        self.gaussian = gaussian(like.schedule, like.shape, learned_variance=False)
        self.schedule, self.target, self.shape, self.classes = like.schedule, like.target, like.shape, like.classes
        self.off = off

    def forward(self, x: Tensor, t: Tensor, label: Tensor, s: Tensor | None = None) -> Estimate:
        """The estimates, in float64."""
        m, n = self.schedule(t), self.target.mix(self.schedule, t)
        x0, eps, *_ = self.gaussian(x, t, label)
        if self.off:
            spread = (VAR / (m.alpha**2 * VAR + m.sigma**2)).sqrt() * m.sigma
            x0 = x0 + scale(self.off * spread, torch.ones_like(x0))
            _, eps = unmix(x, m, x0, Mix(torch.ones_like(t), torch.zeros_like(t)))
        return Estimate(x0, eps, n(x0, eps))


class OptimalMap(ExactFlowMap):
    """The exact flow map of N(MEAN, VAR), whose output is in any target, and off by `off`."""

    def __init__(self, like: FlowMap, off: float) -> None:
        super().__init__(gaussian(like.schedule, like.shape, learned_variance=False))
        self.target, self.classes, self.off = like.target, like.classes, off

    def output(self, x: Tensor, t: Tensor, label: Tensor, s: Tensor | None = None) -> tuple[Tensor]:
        """As that of `FlowMap`."""
        tangent = self.exact.forward(x, t, label)
        y = n = self.target.mix(self.schedule, t)(tangent.x0, tangent.eps)
        if s is not None and (moves := s < t).any():
            away = self.forward(x[moves], t[moves], label[moves], s[moves])
            y = n.index_put((moves,), self.target.mix(self.schedule, t[moves])(away.x0, away.eps))
        return (y + self.off,)

    def forward(self, x: Tensor, t: Tensor, label: Tensor, s: Tensor | None = None) -> Estimate:
        """The chord, or without `s` the denoiser, off in the target."""
        if s is not None:
            return super().forward(x, t, label, s)
        m, (y,) = self.schedule(t), self.output(x, t, label)
        return Estimate(*unmix(x, m, y, self.target.mix(self.schedule, t)), y)


class OptimalLayers(nn.Module):
    """The networks of a decoder's layers in place of which stands the optimal denoiser, off by `off`."""

    def __init__(self, like: AnyDenoiser, off: float) -> None:
        super().__init__()
        self.optimal = Optimal(like, off)

    def forward(self, x: Tensor, layer: Tensor, code: Tensor, label: Tensor) -> Tensor:
        """The output for the samples that were scaled for a network."""
        schedule, target = self.optimal.schedule, self.optimal.target
        t = layer * schedule.step
        estimate: Estimate = self.optimal(scale(1 / target.c_in(schedule(t)), x), t, label)
        return estimate.out


def optimal_chain(like: HierarchicalAutoencoder, off: float) -> HierarchicalAutoencoder:
    """A hierarchical VAE whose bound is tight on N(MEAN, VAR): a fixed encoder, and the law `q(x_{t-1} | x_t)`."""
    exact = copy.deepcopy(like)
    exact.encoder, exact.learned_encoder = FixedEncoder(like.schedule), False
    exact.backbone, variances = OptimalLayers(like, off), []
    for layer in range(1, exact.T + 1):
        s, t = (exact.schedule(exact.encoder.time(k)) for k in (layer - 1, layer))
        below = bridge(s, t)
        by_x0 = s.alpha - below.mean.sigma * t.alpha / t.sigma  # how x_{t-1} depends on x0 for a given x_t
        variances.append(below.lower + by_x0**2 * VAR * t.sigma**2 / (t.alpha**2 * VAR + t.sigma**2))
    exact.log_var = nn.Parameter(torch.stack(variances).log())
    return exact


class Bayes(AnyClassifier):
    """`p(y | x_t)` of classes that are Gaussians on a circle, to the power of `exp(off)`."""

    def __init__(self, like: AnyClassifier, off: float) -> None:
        super().__init__()
        means = centres(like)
        weights = means.new_ones(len(means)) / len(means)
        self.mixture = Mixture(like.schedule, means, means.new_full((1,), VAR), weights)
        self.schedule, self.shape, self.classes, self.off = like.schedule, like.shape, like.classes, off

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Log-probabilities, in float64."""
        null = torch.full((len(x),), self.classes)
        return (math.exp(self.off) * self.mixture.log_joint(x, self.schedule(t), null)).log_softmax(1)


def centres(classifier: AnyClassifier) -> Tensor:
    """The means of the classes, (classes, *shape)."""
    n = classifier.classes
    angle = 2 * math.pi * torch.arange(n, dtype=torch.float64) / n
    means = torch.zeros(n, math.prod(classifier.shape), dtype=torch.float64)
    means[:, :2] = torch.stack([angle.cos(), angle.sin()], 1)
    return means.reshape(n, *classifier.shape)


def samples(model: Paradigm, n: int) -> tuple[Tensor, Tensor]:
    """Samples `(n, *shape)` in float64 whose optimum is known, and their labels, each class in turn."""
    learned, generator = model.learned, torch.Generator().manual_seed(0)
    z = torch.randn(n, *learned.shape, dtype=torch.float64, generator=generator)
    label = torch.arange(n) % max(1, learned.classes)
    mean = centres(learned)[label] if isinstance(learned, AnyClassifier) else MEAN
    return mean + VAR**0.5 * z, label


def at_the_optimum(model: Paradigm, off: float = 0.0) -> Paradigm:
    """A copy of the model with the optimum, or what is off by `off`, in place of what is trained."""
    model, learned = copy.deepcopy(model), model.learned
    exact: AnyDenoiser | AnyClassifier
    if isinstance(learned, AnyClassifier):
        exact = Bayes(learned, off)
    elif isinstance(learned, HierarchicalAutoencoder):
        exact = optimal_chain(learned, off)
    else:
        exact = OptimalMap(learned, off) if isinstance(learned, FlowMap) else Optimal(cast(AnyDenoiser, learned), off)
    setattr(model, model.learns, exact)
    if isinstance(model, FlowMapMatching):
        model.rule = Current()  # the held weights are those of the optimum, too
    return model
