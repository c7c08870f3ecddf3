"""Couplings: which noise belongs to which clean sample of a batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


class Coupling(Protocol):
    """A joint law of clean samples and noise whose two marginals are those of the data and of N(0, I)."""

    def __call__(self, x0: Callable[[], Tensor], eps: Tensor) -> Tensor:
        """The noise `eps` of the whole batch, `(n, *)`, in the order of the clean samples `x0()` that it goes to."""


@dataclass(frozen=True)
class Independent:
    """Noise that knows nothing of the data. Ho et al. 2020 (arXiv:2006.11239), Algorithm 1."""

    def __call__(self, x0: Callable[[], Tensor], eps: Tensor) -> Tensor:
        """The noise as it is; `x0` is not called."""
        return eps


@dataclass(frozen=True)
class OptimalTransport:
    """The assignment within the batch of least total squared distance, exact.

    Tong et al. 2024 (arXiv:2302.00482), section 3.2.3; Pooladian et al. 2023 (arXiv:2304.14772).
    """

    def __call__(self, x0: Callable[[], Tensor], eps: Tensor) -> Tensor:
        """The permutation of `eps` that lies nearest to `x0()`, sample by sample."""
        rows, columns = (x.flatten(1).cpu().double() for x in (x0(), eps))
        # |x - e|^2 = |x|^2 + |e|^2 - 2 x e, and the squares are the same sum for every permutation
        _, nearest = linear_sum_assignment(rows @ columns.T, maximize=True)
        return eps[torch.from_numpy(nearest).to(eps.device)]
