"""The probability flow integrated to a tolerance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torchdiffeq import odeint

from difflab.denoiser.base import Denoise, velocity
from difflab.sampler.base import check_continuous


def worst(error: Tensor) -> Tensor:
    """The largest root mean square among the samples `(B, *)`."""
    return error.flatten(1).square().mean(1).sqrt().max()


@dataclass(frozen=True)
class Adaptive:
    """`dx/dt` integrated by Dormand & Prince's pair of orders 5 and 4 in the schedule's own time.

    It ends at the least noisy time that is trained on, with the clean estimate. Each step's local error, as a root mean
    square over a sample, is at most `atol + rtol |x|` in the worst sample of the batch; the samples of a batch share
    their steps, so a sample is a function of its own noise to the tolerances alone. Song et al. 2021
    (arXiv:2011.13456), section 4.3 and appendix D.4.
    """

    rtol: float = 1e-5
    atol: float = 1e-5
    evaluations: ClassVar[None] = None
    stochastic: ClassVar[bool] = False
    order: ClassVar[int] = 5

    def __post_init__(self) -> None:
        if not (self.rtol > 0 and self.atol > 0):
            raise ValueError(f"sampler.rtol={self.rtol} and sampler.atol={self.atol} must be positive")

    def init(self, x: Tensor) -> None:
        """No state."""

    def step(
        self, denoise: Denoise, x: Tensor, t: Tensor, s: Tensor, state: None, noise: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, None]:
        """Step `x` from time `t` to `s < t`, however far. Raises ValueError on a table."""
        schedule = denoise.schedule
        check_continuous(schedule, self, "sampler=ddim or heun")

        def flow(time: Tensor, at: Tensor) -> Tensor:
            return velocity(denoise, at, time.to("cpu", torch.float64))

        end = s.clamp(min=schedule.t_min)
        if end != t:  # with `step_t` the last step ends at the end, where otherwise it is interpolated from beyond
            options = {"norm": worst, "step_t": end[None]}
            times = torch.stack([t, end]).to(x.device)
            x = odeint(flow, x, times, rtol=self.rtol, atol=self.atol, method="dopri5", options=options)[-1]
        return (denoise(x, end).x0 if schedule(s).sigma == 0 else x), state
