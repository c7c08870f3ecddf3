"""The reverse SDE integrated to a tolerance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from difflab.denoiser.base import Denoise
from difflab.process.gaussian import scale
from difflab.sampler.base import check_continuous, is_noise

EXPONENT, SAFETY, FIRST = 0.9, 0.9, 0.01  # r, theta and the first h of the paper
GROWTH = 5.0  # of a step to the next, at most


@dataclass(frozen=True)
class AdaptiveSDE:
    """The reverse SDE by Euler-Maruyama `x'`, and by the mean `x''` of it and a step with the drift at its end.

    Both take the same noise. With `d = max(atol, rtol max(|x'|, |x' of the last step|))` and E the root mean square of
    `(x' - x'') / d` over a sample, a step h leads to `x''` where `E <= 1`; the next, or the same again, is
    `0.9 h E^-0.9` long. Each sample has its own steps, so that it is a function of its own noise alone; the batch is
    evaluated, twice a step, until its last sample has arrived: at the least noisy time that is trained on, with the
    clean estimate. Jolicoeur-Martineau et al. 2021 (arXiv:2105.14080), Algorithm 1; `atol` is one of 256 levels of
    [-1, 1].

    They draw new noise after a rejection. That favours noise that is easy to follow: in one dimension the samples of
    Gaussian data then spread by half too much. Here the noise of a rejected step stays, and is divided by a Brownian
    bridge: Rackauckas & Nie 2017 (doi:10.3934/dcdsb.2017133), RSwM1. A step is at most 5 times as long as the last.
    Near the data E rises with the square of h, and without this limit every other step is rejected there. The sampler
    is for samples of many numbers: the E of a few vanishes by chance now and then, and a wrong step is taken.
    """

    rtol: float = 0.02
    atol: float = 0.0078
    evaluations: ClassVar[None] = None
    stochastic: ClassVar[bool] = True
    order: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not (self.rtol > 0 and self.atol > 0):
            raise ValueError(f"sampler.rtol={self.rtol} and sampler.atol={self.atol} must be positive")

    def init(self, x: Tensor) -> None:
        """No state."""

    def step(
        self, denoise: Denoise, x: Tensor, t: Tensor, s: Tensor, state: None, noise: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, None]:
        """Step `x` from time `t` to `s < t`, however far. Raises ValueError on a table, and where alpha = 0."""
        schedule = denoise.schedule
        check_continuous(schedule, self, "sampler=ancestral")
        if is_noise(schedule(t)):
            raise ValueError(
                f"the reverse SDE is infinite on {schedule} at t={t:g}, where alpha=0: choose sampler=ancestral, the "
                f"same equation in exact steps, or train with schedule.t_max=0.999"
            )
        end = s.clamp(min=schedule.t_min)
        at, before = t.expand(len(x)).clone(), x
        paths = [BrownianPath() for _ in x]
        h = (FIRST * (t - end)).expand(len(x))
        while (at > end).any():
            h, w = steps_of(paths, h, noise(x))
            drift, kick = reverse(denoise, x, at)
            euler = x + scale(-h, drift) + scale(kick, w)
            drift, kick = reverse(denoise, euler, at - h)
            mean = 0.5 * (euler + x + scale(-h, drift) + scale(kick, w))
            allowed = (self.rtol * torch.maximum(euler.abs(), before.abs())).clamp(min=self.atol)
            error = ((euler - mean) / allowed).flatten(1).square().mean(1).sqrt().to("cpu", torch.float64)
            taken = error <= 1
            lost = ~error.isfinite()  # such a sample ends here as it is: no step is short enough
            taken |= lost
            here = taken.to(x.device).reshape(-1, *[1] * (x.ndim - 1))
            x, before = torch.where(here, mean, x), torch.where(here, euler, before)
            at = torch.where(taken, at - h, at).clamp(min=end).where(~lost, end)
            for path, each, length, rows in zip(paths, taken.tolist(), h.tolist(), w, strict=True):
                if not each:
                    path.put_back(length, rows)
            h = torch.minimum(at - end, h * (SAFETY * error**-EXPONENT).clamp(max=GROWTH)).where(at > end, 0.0)
        return (denoise(x, end).x0 if schedule(s).sigma == 0 else x), state


class BrownianPath:
    """The increments of a sample's noise that were drawn and are still to be used, the next one last."""

    def __init__(self) -> None:
        self.drawn: list[tuple[float, Tensor]] = []

    def put_back(self, length: float, increment: Tensor) -> None:
        """Have an increment used again."""
        self.drawn.append((length, increment))

    def take(self, length: float, z: Tensor) -> tuple[float, Tensor]:
        """An increment over `length` at most, and the length that it is over; `z` is normal noise to make it of."""
        if not self.drawn:
            return length, length**0.5 * z
        whole, increment = self.drawn.pop()
        if length >= whole:
            return whole, increment
        share = length / whole
        part = share * increment + (share * (1 - share) * whole) ** 0.5 * z
        self.put_back(whole - length, increment - part)
        return length, part


def steps_of(paths: Sequence[BrownianPath], h: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """The next increment of each sample, over `h: (B,)` at most: lengths `(B,)` and increments `(B, *)`."""
    taken = [path.take(length, row) for path, length, row in zip(paths, h.tolist(), z, strict=True)]
    return h.new_tensor([length for length, _ in taken]), torch.stack([increment for _, increment in taken])


def reverse(denoise: Denoise, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """The drift of the reverse SDE at times `(B,)`, in the direction of time, and g.

    `alpha' x0 + (sigma' + g^2 / (2 sigma)) eps`, as in `EulerMaruyama`.
    """
    m, rate, estimate = denoise.schedule(t), denoise.schedule.rate(t), denoise(x, t)
    growth = rate.sigma - rate.alpha * m.sigma / m.alpha  # g^2 / (2 sigma)
    drift = rate._replace(sigma=rate.sigma + growth)
    return drift(estimate.x0, estimate.eps), (2 * m.sigma * growth).sqrt()
