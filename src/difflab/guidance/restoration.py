"""Inverse problems: a denoiser of images of which `y = A x0 + noise_std z` was measured, from one trained without.

`method(operator, y, noise_std)` is a guidance, and any sampler takes what it makes of a denoiser. Guidance that clips
x0 comes after it. A call costs one network evaluation, with the backward pass through it in `DPS` and `PiGDM`.

Each method is a guess at `E[x0 | x_t, y] = E[x0 | x_t] + sigma^2 / alpha grad log p(y | x_t)`, which depends on the
covariance of x0 given x_t. All three are exact for data N(mu, sigma_data^2 I), where that is `spread` times I; `DPS`
only if A A^T is a multiple of I, as in all problems but deblurring, MRI and tomography.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.linalg import vector_norm
from typing_extensions import override

from difflab.denoiser.base import AnyDenoiser, Estimate
from difflab.guidance.base import Guidance, Guided
from difflab.guidance.problem import Operator
from difflab.process.gaussian import Mix, bridge, scale
from difflab.process.ranges import Positive
from difflab.process.schedule import Schedule


class Measured(NamedTuple):
    """`y = operator(x0) + noise_std z`, a row of `y` for each sample."""

    operator: Operator
    y: Tensor
    noise_std: float

    def residual(self, x0: Tensor) -> Tensor:
        """What `x0` leaves unexplained: `y - A x0`, of the samples once or, as other guidance may ask, several times.

        Raises ValueError unless there is a row of y for each sample.
        """
        times, rest = divmod(len(x0), len(self.y))
        if rest:
            raise ValueError(f"{len(self.y)} images were measured and {len(x0)} are sampled: make them one batch")
        return torch.cat(times * [self.y]).to(x0) - self.operator(x0)


class Restoration:
    """Base class of the methods: a guidance for each measurement. Subclasses implement `update`."""

    def __call__(self, operator: Operator, y: Tensor, noise_std: float = 0.0) -> Guidance:
        """The guidance towards what was measured, `y` in rows as those sampled.

        Raises ValueError if noise_std is negative.
        """
        if noise_std < 0:
            raise ValueError(f"noise_std={noise_std} must be 0 or more")
        return partial(Restored, method=self, measured=Measured(operator, y, noise_std))

    def update(
        self,
        denoiser: AnyDenoiser,
        measured: Measured,
        x: Tensor,
        t: Tensor,
        label: Tensor,
        s: Tensor | None = None,
    ) -> tuple[Estimate, Tensor]:
        """The denoiser's own estimate, and what the measurement adds to its x0."""
        raise NotImplementedError


class Restored(Guided):
    """A denoiser of images of which something was measured."""

    always_on = True

    def __init__(self, denoiser: AnyDenoiser, method: Restoration, measured: Measured) -> None:
        super().__init__(denoiser)
        denoiser.require_mixes(str(method))
        self.method, self.measured = method, measured

    def forward(self, x: Tensor, t: Tensor, label: Tensor, s: Tensor | None = None) -> Estimate:
        """Estimate from samples `(B, *)` at times `()` or `(B,)` and labels `(B,)`; `s` as in `Denoise`."""
        estimate, shift = self.method.update(self.denoiser, self.measured, x, t, label, s)
        return self.with_x0(estimate, x, t, estimate.x0 + shift)


def spread(m: Mix, sigma_data: float) -> Tensor:
    """The variance of x0 given x_t for data N(mu, sd^2 I): `r^2 = sigma^2 sd^2 / (alpha^2 sd^2 + sigma^2)`."""
    return m.sigma**2 * sigma_data**2 / (m.alpha**2 * sigma_data**2 + m.sigma**2)


@dataclass(frozen=True)
class Replacement(Restoration):
    """`x0 + A^T (A A^T + noise_std^2 / r^2 I)^-1 (y - A x0)`: what was measured replaces its part of x0.

    Without noise this is `x0 + A+ (y - A x0)`, which explains y entirely at any sigma_data: Wang et al. 2023
    (arXiv:2212.00490), Algorithm 1. For a mask under an ancestral sampler, the known pixels of every x_s then follow
    q(x_s | x0 = y), as RePaint draws them, along one path of noise rather than afresh at each step: Lugmayr et al. 2022
    (arXiv:2201.09865), eq. 8; the sampler `repaint` adds their resampling. With noise it is the posterior mean under
    x0 ~ N(x0, r^2 I), r^2 the `spread`.
    """

    sigma_data: Positive = 0.5

    @override
    def update(
        self,
        denoiser: AnyDenoiser,
        measured: Measured,
        x: Tensor,
        t: Tensor,
        label: Tensor,
        s: Tensor | None = None,
    ) -> tuple[Estimate, Tensor]:
        estimate: Estimate = denoiser(x, t, label, s)
        ridge = measured.noise_std**2 / spread(denoiser.schedule(t), self.sigma_data)
        return estimate, measured.operator.pinv(measured.residual(estimate.x0), ridge)


class ByGradient(Restoration):
    """What is common to the methods that differentiate the denoiser."""

    def fit(self, x0: Tensor, m: Mix, measured: Measured) -> Tensor:
        """A number for each sample, whose gradient with respect to x_t is taken for that of log p(y | x_t)."""
        raise NotImplementedError

    def length(self, schedule: Schedule, t: Tensor, residual: Tensor, change: Tensor, noise_std: float) -> Tensor:
        """How far to go, `(B,)`, where all of the way changes `A x0` by `change` and `residual` is unexplained."""
        raise NotImplementedError

    @override
    def update(
        self,
        denoiser: AnyDenoiser,
        measured: Measured,
        x: Tensor,
        t: Tensor,
        label: Tensor,
        s: Tensor | None = None,
    ) -> tuple[Estimate, Tensor]:
        with torch.inference_mode(False), torch.enable_grad():
            x, t, label = x.detach().clone().requires_grad_(), t.clone(), label.clone()
            m, live = denoiser.schedule(t), denoiser(x, t, label, None if s is None else s.clone())
            (gradient,) = torch.autograd.grad(self.fit(live.x0, m, measured).sum(), x)
        estimate = Estimate._make(None if value is None else value.detach() for value in live)
        # Where alpha vanishes x_t says nothing of x0, and the gradient is rounding error over alpha.
        says = m.alpha**2 > torch.finfo(x.dtype).eps * m.sigma**2
        way = scale(torch.where(says, m.sigma**2 / m.alpha, 0.0), gradient)
        change, residual = measured.operator(way), measured.residual(estimate.x0)
        return estimate, scale(self.length(denoiser.schedule, t, residual, change, measured.noise_std), way)


@dataclass(frozen=True)
class DPS(ByGradient):
    """`x0 - c grad |y - A x0(x_t)|^2`, through the denoiser: diffusion posterior sampling with a length of our own.

    The direction is that of Chung et al. 2023 (arXiv:2209.14687), Algorithm 1, whose length is that of `PublishedDPS`.
    Here c is the length that a Gaussian x0 given x_t would give it, so that any sampler takes it at any number of
    steps: with `S = A Cov(x0 | x_t) A^T + noise_std^2 I`, of which the gradient knows the product with
    `r = y - A x0`, the exact `S^-1 r` is taken as `r |r| / |S r|`.
    """

    @override
    def fit(self, x0: Tensor, m: Mix, measured: Measured) -> Tensor:
        return -0.5 * measured.residual(x0).flatten(1).square().sum(1)

    @override
    def length(self, schedule: Schedule, t: Tensor, residual: Tensor, change: Tensor, noise_std: float) -> Tensor:
        unexplained = vector_norm(residual.flatten(1), dim=1)
        product = vector_norm((change + noise_std**2 * residual).flatten(1), dim=1)
        return torch.where(product > 0, unexplained / product, 0.0)


@dataclass(frozen=True)
class PublishedDPS(ByGradient):
    """Diffusion posterior sampling as published: `x_s - zeta / |y - A x0| grad |y - A x0(x_t)|^2` in each step.

    Chung et al. 2023 (arXiv:2209.14687), Algorithm 1, with their zeta' for `zeta`; their code has half the length. It
    is meant for the ancestral sampler and as many steps as the chain has: x0 is moved by so much that a step from t to
    `s = t - schedule.step` moves x_s by the length above. A longer step moves x_s further, about as far as the steps
    that it stands for. Raises ValueError unless `zeta` is positive.
    """

    zeta: float = 1.0

    def __post_init__(self) -> None:
        if not self.zeta > 0:
            raise ValueError(f"restoration.zeta={self.zeta} must be positive")

    @override
    def fit(self, x0: Tensor, m: Mix, measured: Measured) -> Tensor:
        return -0.5 * measured.residual(x0).flatten(1).square().sum(1)

    @override
    def length(self, schedule: Schedule, t: Tensor, residual: Tensor, change: Tensor, noise_std: float) -> Tensor:
        m_t = schedule(t)
        mean = bridge(schedule((t - schedule.step).clamp(min=0)), m_t).mean
        moved = mean.alpha - mean.sigma * m_t.alpha / m_t.sigma  # of x_s by x0 where x_t stays
        unexplained = vector_norm(residual.flatten(1), dim=1)
        wanted = (2 * self.zeta * m_t.alpha / (m_t.sigma**2 * moved)).to(unexplained)
        return torch.where(unexplained > 0, wanted / unexplained, 0.0)


@dataclass(frozen=True)
class PiGDM(ByGradient):
    """`x0 + sigma^2 / (alpha r^2) J^T A^T (A A^T + noise_std^2 / r^2 I)^-1 (y - A x0)`, with `J = dx0 / dx_t`.

    Pseudo-inverse guided diffusion: Song, Vahdat, Mardani & Kautz 2023 (ICLR, openreview 9_gsMA8MRKQ), eq. 7, with the
    `spread` r^2 for any schedule and any sigma_data; at alpha = 1 and sigma_data = 1 it is theirs. Where the data vary
    more in some directions than r^2 says, x0 would be moved beyond y: there the way ends when `A x0` has changed by as
    much as was unexplained.
    """

    sigma_data: Positive = 0.5

    @override
    def fit(self, x0: Tensor, m: Mix, measured: Measured) -> Tensor:
        variance = spread(m, self.sigma_data)
        wanted = measured.operator.pinv(measured.residual(x0.detach()), measured.noise_std**2 / variance)
        return (scale(1 / variance, wanted) * x0).flatten(1).sum(1)

    @override
    def length(self, schedule: Schedule, t: Tensor, residual: Tensor, change: Tensor, noise_std: float) -> Tensor:
        unexplained, explained = (vector_norm(part.flatten(1), dim=1) for part in (residual, change))
        return torch.where(explained > unexplained, unexplained / explained, 1.0)
