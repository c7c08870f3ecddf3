"""The likelihood of the probability flow, by the trace of its Jacobian."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor
from torchdiffeq import odeint

from difflab.denoiser.base import Denoise, velocity
from difflab.denoiser.likelihood.decoder import bits, check_levels, surprise
from difflab.process.gaussian import scale
from difflab.process.noise import keyed


class Trace(Protocol):
    """A way to the trace of a Jacobian."""

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        """Directions `(P, *x.shape)` with `trace J = sum_p e_p^T J e_p` for each sample, or in the mean."""


@dataclass(frozen=True)
class Hutchinson:
    """`probes` random signs: unbiased. Hutchinson 1990; Grathwohl et al. 2019 (arXiv:1810.01367), eq. 8."""

    probes: int = 1

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        """Signs divided by `sqrt(probes)`."""
        signs = 2 * torch.randint(2, (self.probes, *x.shape), generator=generator) - 1
        return signs.to(x) / math.sqrt(self.probes)


@dataclass(frozen=True)
class ExactTrace:
    """Each dimension in turn: exact, and as many backward passes as there are dimensions."""

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        """The unit vectors."""
        n = x[0].numel()
        return torch.eye(n).to(x).reshape(n, 1, *x.shape[1:]).expand(n, *x.shape)


@torch.no_grad()
def flow_bits_per_dim(
    denoise: Denoise,
    x0: Tensor,
    *,
    seed: int = 0,
    levels: int | None = 256,
    trace: Trace = Hutchinson(),
    rtol: float = 1e-5,
    atol: float = 1e-5,
) -> Tensor:
    """`-log2 p(x0) / D` of the probability flow from t_min to t_max, where samples start from N(0, sigma_T^2).

    `log p(x(t_min)) = log p(x(t_max)) + int div(dx/dt) dt`, by adaptive dopri5: Song et al. 2021 (arXiv:2011.13456),
    app. D.2. With `levels` the noise of a bin's width is added and its bits are counted, which bounds the discrete
    value: Theis et al. 2016 (arXiv:1511.01844), section 3.1. Raises ValueError if `x0` is not on the levels.
    """
    check_levels(x0, levels)
    schedule, g = denoise.schedule, keyed(seed)
    directions = trace(x0, g)
    bin_width = 0.0 if levels is None else 2 / (levels - 1)
    x = x0 + bin_width * (torch.rand(x0.shape, generator=g) - 0.5).to(x0)

    def flow(t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        x = state[0].detach().requires_grad_()
        with torch.enable_grad():
            v = velocity(denoise, x, t.to("cpu", torch.float64).clamp(max=schedule.t_max))
        divergence = torch.zeros_like(x)
        for e in directions:
            divergence += e * torch.autograd.grad(v, x, e, retain_graph=True)[0]
        return v.detach(), divergence.flatten(1).mean(1)

    span = torch.tensor([schedule.t_min, schedule.t_max], device=x.device, dtype=x.dtype)
    # Beyond t_max schedules and networks have no meaning: no step reaches there, and the guess of the first is clamped.
    options = {"step_t": span[1:], "dtype": x.dtype}
    start = (x, x.new_zeros(len(x)))
    x_T, growth = (y[-1] for y in odeint(flow, start, span, rtol=rtol, atol=atol, method="dopri5", options=options))
    log_var = 2 * schedule(torch.tensor(schedule.t_max, dtype=torch.float64)).sigma.log()
    ends = surprise(x_T, torch.zeros_like(x_T), scale(log_var, torch.ones_like(x_T)), None)
    found: Tensor = bits(ends) - growth / math.log(2)
    return found if levels is None else found - math.log2(bin_width)
