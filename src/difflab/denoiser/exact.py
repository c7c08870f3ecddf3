"""Closed-form denoisers of known distributions: solver error seen without network error, and nothing to train."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from difflab.denoiser.base import AnyDenoiser, Estimate
from difflab.process.gaussian import Mix, scale, unmix
from difflab.process.schedule import Schedule
from difflab.process.target import X0, Target

CELLS = 2**22  # samples times components that are weighed at once


class Data(Protocol):
    """A data set, as far as its optimal denoiser needs it."""

    shape: Sequence[int]  # of one sample
    classes: int

    @property
    def source(self) -> object:
        """Where the samples come from; its `components`, if there are any, are the law that it draws from."""

    def samples(self) -> tuple[Tensor, Tensor]:
        """All training samples `(N, *shape)` and their labels `(N,)`."""


class Exact(AnyDenoiser):
    """A denoiser that says `E[x0 | x_t]` and derives the rest, in full precision under any autocast."""

    is_network = True
    target: Target = X0()
    classes = 0

    def clean(self, x: Tensor, m: Mix, label: Tensor) -> Tensor:
        """`E[x0 | x_t = x]` where `x_t = m(x0, eps)`."""
        raise NotImplementedError

    def forward(self, x: Tensor, t: Tensor, label: Tensor, s: Tensor | None = None) -> Estimate:
        """Estimate from samples `(B, *)` at times `()` or `(B,)` and labels `(B,)`; `s` is not used."""
        m = self.schedule(t)
        with torch.autocast(x.device.type, enabled=False):
            x0 = self.clean(x, m, label)
        return Estimate(*unmix(x, m, x0, self.target.mix(self.schedule, t)), out=x0)


class Gaussian(Exact):
    """The optimal denoiser of N(mean, var), `mean` and `var` of one sample's shape.

    `E[x0 | x_t] = mean + alpha var / (alpha^2 var + sigma^2) (x_t - alpha mean)`.
    """

    mean: Tensor
    var: Tensor

    def __init__(self, schedule: Schedule, mean: Tensor, var: Tensor) -> None:
        super().__init__()
        self.schedule, self.shape = schedule, tuple(mean.shape)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("var", var.to(mean), persistent=False)

    def clean(self, x: Tensor, m: Mix, label: Tensor) -> Tensor:
        """Shrink towards the mean; labels do not matter."""
        mean, var, one = self.mean.expand_as(x), self.var.expand_as(x), torch.ones_like(x)
        gain = scale(m.alpha, var) / Mix(m.alpha**2, m.sigma**2)(var, one)
        return mean + gain * (x - scale(m.alpha, mean))


class Mixture(Exact):
    """The optimal denoiser of `sum_k w_k N(mean_k, var_k I)`: means `(K, *shape)`, var `(K,)` or `(1,)`, weights (K,).

    `E[x0 | x_t]` is the components' own, as for `Gaussian`, averaged with the weights
    `r_k ~ w_k N(x_t; alpha mean_k, (alpha^2 var_k + sigma^2) I)`. Raises ValueError for shapes that do not agree.
    """

    means: Tensor
    var: Tensor
    weights: Tensor

    def __init__(self, schedule: Schedule, means: Tensor, var: Tensor, weights: Tensor) -> None:
        super().__init__()
        if weights.shape != means.shape[:1] or var.shape not in (weights.shape, (1,)):
            raise ValueError(
                f"a mixture of K components has means (K, *shape), var (K,) or (1,) and weights (K,), "
                f"not {tuple(means.shape)}, {tuple(var.shape)} and {tuple(weights.shape)}"
            )
        self.schedule, self.shape = schedule, tuple(means.shape[1:])
        self.register_buffer("means", means, persistent=False)
        self.register_buffer("var", var, persistent=False)
        self.register_buffer("weights", weights, persistent=False)

    def log_prior(self, x: Tensor, label: Tensor) -> Tensor:
        """`log w_k`, of shape `(K,)` or `(B, K)`; labels do not matter."""
        return self.weights.to(x).log()

    def log_joint(self, x: Tensor, m: Mix, label: Tensor) -> Tensor:
        """`log w_k N(x; alpha mean_k, (alpha^2 var_k + sigma^2) I)`, of shape `(B, K)`."""
        rows, means = x.flatten(1), self.means.to(x).flatten(1)
        square = means.square().sum(1)
        var = Mix(m.alpha**2, m.sigma**2)(self.var.to(x).expand(len(x), -1), rows.new_ones(len(x), 1))
        distance = rows.square().sum(1, keepdim=True) + Mix(m.alpha**2, -2 * m.alpha)(
            square.expand(len(x), -1), rows @ means.T
        )
        return self.log_prior(x, label) - 0.5 * (distance / var + means.shape[1] * (2 * math.pi * var).log())

    def clean(self, x: Tensor, m: Mix, label: Tensor) -> Tensor:
        """The components' own estimates, averaged: as many rows at a time as keep `CELLS` shares in memory."""
        rows, n = max(1, CELLS // len(self.means)), len(x)
        columns = (x, m.alpha.expand(n), m.sigma.expand(n), label)
        parts = zip(*(torch.split(column, rows) for column in columns), strict=True)
        return torch.cat([self.average(part, Mix(alpha, sigma), own) for part, alpha, sigma, own in parts])

    def average(self, x: Tensor, m: Mix, label: Tensor) -> Tensor:
        """`sum_k r_k (mean_k + gain_k (x - alpha mean_k))`."""
        share = self.log_joint(x, m, label).softmax(1)
        var = self.var.to(x).expand(len(x), -1)
        gain = share * scale(m.alpha, var) / Mix(m.alpha**2, m.sigma**2)(var, torch.ones_like(var))
        near = gain.sum(1, keepdim=True) * x.flatten(1)
        return (near + (share - scale(m.alpha, gain)) @ self.means.to(x).flatten(1)).view_as(x)

    def log_prob(self, x: Tensor, t: Tensor) -> Tensor:
        """The log-density of `x_t`, in nats, at samples `(B, *)` and times `()` or `(B,)`; shape `(B,)`."""
        null = torch.full((len(x),), self.classes, device=x.device)
        return self.log_joint(x, self.schedule(t), null).logsumexp(1)


class Empirical(Mixture):
    """The optimal denoiser of the training set itself, of one class or, with the null label, of all of it.

    The softmax over all points of `-|x_t - alpha x_k|^2 / (2 sigma^2)`: Karras et al. 2022 (arXiv:2206.00364), eq. 57.
    What it generates are training samples, which have no density. Raises ValueError for a class without samples.
    """

    has_density = False
    labels: Tensor

    def __init__(self, schedule: Schedule, data: Data) -> None:
        x0, labels = data.samples()
        if data.classes and (empty := (labels.bincount(minlength=data.classes) == 0).nonzero().flatten().tolist()):
            raise ValueError(f"no training sample has the label {empty[0]} of {data.classes} classes")
        super().__init__(schedule, x0, x0.new_zeros(1), x0.new_ones(len(x0)) / len(x0))
        self.classes = data.classes
        self.register_buffer("labels", labels, persistent=False)

    def log_prior(self, x: Tensor, label: Tensor) -> Tensor:
        """`log 1 / N` at the points of the label's class, else minus infinity: of shape `(B, N)`."""
        label = label[:, None]
        allowed = (label == self.labels) | (label == self.classes) | (self.classes == 0)
        return torch.where(allowed, super().log_prior(x, label), -math.inf)


class Known(Mixture):
    """The optimal denoiser of the very law that the data are drawn from, where that is a mixture of Gaussians.

    Raises ValueError where the source states none.
    """

    def __init__(self, schedule: Schedule, data: Data) -> None:
        law = getattr(data.source, "components", None)
        if law is None:
            raise ValueError(
                f"the law behind {data.source} is not known as a mixture of Gaussians: choose denoiser=empirical, "
                f"the optimum for the training samples themselves"
            )
        super().__init__(schedule, law.means.float(), law.var.float(), law.weights.float())
