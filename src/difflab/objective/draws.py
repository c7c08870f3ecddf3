"""How many draws of noise estimate a term of DDPM's bound: one, two, or the whole chain.

All three have the same expected gradient. `L_{t-1}` compares the model's mean of `x_{t-1}` with what it should be; an
estimator that drew `x_{t-1}` compares with that draw. The pair `(x0, eps)` that would explain both `x_t` and the drawn
`x_{t-1}` then takes the place of the true one, and the regression needs no other change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from difflab.process.gaussian import Mix, bridge, scale, unmix
from difflab.process.schedule import Schedule


class Noised(NamedTuple):
    """Clean samples on their way to the network: `x_t = alpha x0 + sigma eps`.

    Of a flow map, steps from `t` to `s <= t`, with uniform numbers `u` on [0, 1) and the share of the budget that is
    over. Of a hierarchical VAE the noise of its `layers`, `(T, B, *)`.
    """

    t: Tensor
    weight: Tensor
    x_t: Tensor
    x0: Tensor
    eps: Tensor
    label: Tensor
    progress: float = 1.0
    s: Tensor | None = None
    u: Tensor | None = None
    layers: Tensor | None = None


class Draws:
    """An estimator of the bound's terms."""

    def check(self, schedule: Schedule, batch_size: int) -> None:
        """Raise ValueError if it cannot make its terms of such batches."""

    def __call__(self, schedule: Schedule, noised: Noised, normal: Callable[[Tensor, int], Tensor]) -> Noised:
        """Rewrite a batch that was noised by one draw; `normal(like, k)` is the k-th further draw."""
        raise NotImplementedError


@dataclass(frozen=True)
class One(Draws):
    """`x_t ~ q(x_t | x0)`, compared with the mean of q(x_{t-1} | x_t, x0). Ho et al. 2020 (arXiv:2006.11239), eq. 5."""

    def __call__(self, schedule: Schedule, noised: Noised, normal: Callable[[Tensor, int], Tensor]) -> Noised:
        """The batch as it is."""
        return noised


@dataclass(frozen=True)
class Two(Draws):
    """`x_{t-1}, x_t ~ q(x_{t-1}, x_t | x0)`, compared with `x_{t-1}` itself. Ho et al. 2020, eq. 3, by single terms."""

    def __call__(self, schedule: Schedule, noised: Noised, normal: Callable[[Tensor, int], Tensor]) -> Noised:
        """Draw `x_{t-1}` from q(x_{t-1} | x_t, x0), which gives the pair its joint law."""
        m_s, m_t = schedule((noised.t - schedule.step).clamp(min=0)), schedule(noised.t)
        posterior = bridge(m_s, m_t)
        x_s = posterior.mean(noised.x0, noised.eps) + scale(posterior.lower.sqrt(), normal(noised.x_t, 1))
        x0, eps = unmix(noised.x_t, m_t, x_s, posterior.mean)
        return noised._replace(x0=x0, eps=eps)


@dataclass(frozen=True)
class Chain(Draws):
    """`x_1 .. x_T` step by step, T draws an image, and all T terms of it. Ho et al. 2020, eqs. 2-3.

    The first `B // T` images of a batch of `B` make its `B` rows, so that a step costs the same evaluations; a batch
    that is shorter, as the last held-out one may be, still makes a whole chain. `times` has no say: all steps occur.
    """

    def check(self, schedule: Schedule, batch_size: int) -> None:
        """Raise ValueError if the steps do not divide the batch."""
        T = round(schedule.t_max / schedule.step)
        if batch_size % T:
            raise ValueError(
                f"the whole chain has {T} terms an image, which do not divide a batch of {batch_size}: "
                f"choose schedule.T={batch_size}, or another divisor of the batch"
            )

    def __call__(self, schedule: Schedule, noised: Noised, normal: Callable[[Tensor, int], Tensor]) -> Noised:
        """Walk the chain."""
        T = round(schedule.t_max / schedule.step)
        n = max(1, len(noised.x0) // T)
        x, rows = noised.x0[:n], []
        for k in range(1, T + 1):
            s, t = schedule.step * torch.tensor([k - 1, k], dtype=torch.float64)
            m_s, m_t = schedule(s), schedule(t)
            kept = m_t.alpha / m_s.alpha
            x_t = Mix(kept, (m_t.sigma**2 - (kept * m_s.sigma) ** 2).sqrt())(x, normal(x, k))
            rows.append((t.expand(len(x)), x_t, *unmix(x_t, m_t, x, bridge(m_s, m_t).mean)))
            x = x_t
        t, x_t, x0, eps = (torch.cat(part) for part in zip(*rows, strict=True))
        return Noised(t, torch.ones_like(t), x_t, x0, eps, noised.label[:n].repeat(T))
