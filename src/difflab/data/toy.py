"""Points in the plane drawn from laws whose densities are known, each scaled to about unit variance per coordinate."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from difflab.data.components import Array, Components, along, mixture
from difflab.data.images import Images, Split
from difflab.data.ranges import Count, Part, Positive, Real, Seed, Size

ROWS = 4096  # points whose density is evaluated at once


@dataclass(frozen=True, kw_only=True)
class Toy(ABC):
    """A law in the plane: `n` of its points to train on, and `held_out` others, both a function of `seed`.

    Raises ValueError for a set without points.
    """

    n: Count = 100_000
    held_out: Count = 10_000
    seed: Seed = 0

    def __post_init__(self) -> None:
        if min(self.n, self.held_out) < 1:
            raise ValueError(f"n={self.n} and held_out={self.held_out} must be 1 at least")

    @abstractmethod
    def draw(self, n: int, rng: np.random.Generator) -> Array:
        """Independent points (n, 2)."""

    @abstractmethod
    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density in nats of points (N, 2): (N,), in float64 on the CPU."""

    def load(self) -> Images:
        """Draw both splits, from streams of their own."""
        return Images(self._split(self.n, 0), self._split(self.held_out, 1))

    def _split(self, n: int, stream: int) -> Split:
        x = self.draw(n, np.random.default_rng((self.seed, stream)))
        return Split(torch.from_numpy(x.astype(np.float32)), torch.zeros(n, dtype=torch.int64))


class Blobs(Toy):
    """A law that is a mixture of isotropic Gaussians, and says which: draws and density follow."""

    @property
    @abstractmethod
    def components(self) -> Components:
        """The Gaussians."""

    def draw(self, n: int, rng: np.random.Generator) -> Array:
        """Draw a component, then its noise."""
        means, var, weights = (part.numpy() for part in self.components)
        k = rng.choice(len(weights), n, p=weights)
        points: Array = means[k] + np.sqrt(var[k])[:, None] * rng.standard_normal((n, 2))
        return points

    def log_prob(self, x: Tensor) -> Tensor:
        """Evaluate log sum_k w_k N(x; m_k, var_k I)."""
        means, var, weights = self.components
        peak = weights.log() - (2 * math.pi * var).log()
        exact = "donot_use_mm_for_euclid_dist"
        parts = [torch.cdist(part, means, compute_mode=exact) for part in torch.split(x.cpu().double(), ROWS)]
        return torch.cat([(peak - part.square() / (2 * var)).logsumexp(1) for part in parts])


@dataclass(frozen=True, kw_only=True)
class Gaussian(Blobs):
    """N(mean, var I); the second moment of each coordinate is 1 by default."""

    mean: Sequence[Real] = (0.8, -0.8)
    var: Positive = 0.36

    @property
    def components(self) -> Components:
        """The one Gaussian."""
        return mixture([self.mean], [self.var], [1.0])


@dataclass(frozen=True, kw_only=True)
class Mixture(Blobs):
    """sum_k w_k N(m_k, var_k I), the weights up to a factor; by default three with mean 0 and variances 1.02, 0.87.

    Raises ValueError for lists of unlike length, means outside the plane, and values that are not positive.
    """

    means: Sequence[Sequence[float]] = ((-0.8, -0.8), (0.2, 1.2), (1.7, 0.2))
    var: Sequence[Positive] = (0.15, 0.08, 0.04)
    weights: Sequence[Part] = (0.5, 0.3, 0.2)

    @property
    def components(self) -> Components:
        """The Gaussians as given."""
        return mixture(self.means, self.var, self.weights)


@dataclass(frozen=True, kw_only=True)
class EightGaussians(Blobs):
    """Eight Gaussians on a circle of radius 5, each of variance `var`, divided by `unit`: W2 there is 3.58 W2 here.

    Of the two in use, var = 0.316 is what torchcfm draws (its `var=0.1` is taken the root of); 0.1 is what it says.
    Tong et al. 2024 (arXiv:2302.00482).
    """

    var: Positive = 0.1**0.5
    unit: ClassVar[float] = 3.58  # sqrt(5^2 / 2 + 0.316)

    @property
    def components(self) -> Components:
        """The eight, anticlockwise from (5, 0)."""
        angle = np.arange(8) * (math.pi / 4)
        means = 5 / self.unit * np.stack([np.cos(angle), np.sin(angle)], -1)
        return mixture(means, np.full(8, self.var / self.unit**2), np.ones(8))


@dataclass(frozen=True, kw_only=True)
class Moons(Blobs):
    """Two interleaving half circles of radius 1 with Gaussian noise: scikit-learn's make_moons = 0.707 x + (0.5, 0.25).

    `noise` is in scikit-learn's units. (torchcfm's moons are 3 make_moons - 1, with another noise: one uniform number
    on [0, 0.2] added to both coordinates.)
    """

    noise: Size = 0.05

    @cached_property
    def components(self) -> Components:
        """The nodes of a quadrature."""
        return along(self._curve, self.noise / 0.707)

    @staticmethod
    def _curve(u: Array) -> Array:
        x, y = np.cos(math.pi * u), np.sin(math.pi * u)
        outer, inner = np.stack([x, y], -1), np.stack([1 - x, 0.5 - y], -1)
        return (np.stack([outer, inner]) - (0.5, 0.25)) / 0.707


@dataclass(frozen=True, kw_only=True)
class SwissRoll(Blobs):
    """A spiral t (cos t, sin t), t uniform on 1.5 pi..4.5 pi, with noise: make_swiss_roll = 6.86 x + (2, 0.21).

    Coordinates 0 and 2 of scikit-learn's, in whose units `noise` is. Marsland 2014, Machine Learning, ch. 6.
    """

    noise: Size = 0.5

    @cached_property
    def components(self) -> Components:
        """The nodes of a quadrature."""
        return along(self._curve, self.noise / 6.86)

    @staticmethod
    def _curve(u: Array) -> Array:
        t = 1.5 * math.pi * (1 + 2 * u)
        return (np.stack([t * np.cos(t), t * np.sin(t)], -1)[None] - (2, 0.21)) / 6.86


@dataclass(frozen=True, kw_only=True)
class SCurve(Blobs):
    """An S of two three-quarter circles with Gaussian noise: scikit-learn's make_s_curve = 1.1 x.

    Coordinates 0 and 2 of scikit-learn's, in whose units `noise` is: (sin t, sign(t) (cos t - 1)), t uniform on
    -1.5 pi..1.5 pi.
    """

    noise: Size = 0.05

    @cached_property
    def components(self) -> Components:
        """The nodes of a quadrature."""
        return along(self._curve, self.noise / 1.1)

    @staticmethod
    def _curve(u: Array) -> Array:
        t = 3 * math.pi * (u - 0.5)
        return np.stack([np.sin(t), np.sign(t) * (np.cos(t) - 1)], -1)[None] / 1.1


@dataclass(frozen=True, kw_only=True)
class Checkerboard(Toy):
    """Uniform on 8 squares of a 4 x 4 board that fills -sqrt(3)..sqrt(3), so that a coordinate's variance is 1.

    Density 1/6. FFJORD's board fills -4..4: W2 there is 2.309 W2 here.
    Grathwohl et al. 2019 (arXiv:1810.01367), section 4.1.
    """

    side: ClassVar[float] = 3**0.5 / 2  # of a square

    def draw(self, n: int, rng: np.random.Generator) -> Array:
        """Draw a square, then a place in it."""
        column = rng.integers(4, size=n)
        row = 2 * rng.integers(2, size=n) + column % 2
        inside = (rng.integers(2**20, size=(n, 2)) + 0.5) / 2**20  # float32 must not round onto a border
        points: Array = (np.stack([column, row], -1) + inside - 2) * self.side
        return points

    def log_prob(self, x: Tensor) -> Tensor:
        """-log 6 on the squares, -inf beside them."""
        square = (x.cpu().double() / self.side + 2).floor()
        on_board = ((square >= 0) & (square < 4)).all(1)
        filled = on_board & (square.sum(1) % 2 == 0)
        return filled.double().mul(1 / 6).log()
