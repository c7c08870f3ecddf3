"""Flow matching and rectified flow."""

from __future__ import annotations

import itertools
from typing import ClassVar

import torch
from torch import Tensor

from difflab.denoiser.base import Denoise, velocity
from difflab.paradigm.base import HELD_OUT
from difflab.paradigm.batch import place
from difflab.paradigm.defaults import Defaults, Sampling
from difflab.paradigm.diffusion import Diffusion
from difflab.process.schedule import Linear
from difflab.process.target import Velocity
from difflab.sampler.adaptive import Adaptive


class FlowMatching(Diffusion):
    """Regression of the conditional velocity along any schedule's path.

    Lipman et al. 2023 (arXiv:2210.02747), eq. 9; with `coupling=optimal_transport` Tong et al. 2024
    (arXiv:2302.00482), section 3.2.
    """

    defaults: ClassVar[Defaults] = Defaults(Linear(sigma_min=1e-4), Velocity(), Sampling(Adaptive(), nfe=0))
    couples: ClassVar[bool] = True

    @torch.no_grad()
    def on_validation_epoch_end(self) -> None:
        """Log how far from straight the flow is, too."""
        super().on_validation_epoch_end()
        n = min(self.batch_size // place()[1], 64)
        label = torch.arange(self.batch_size, device=self.device)[self.rows(n)] % max(self.denoiser.classes, 1)
        like = torch.empty(n, *self.denoiser.shape, device=self.device)
        bend = straightness(self.denoiser.bind(label), self.normal(like, HELD_OUT))
        self.log(f"{self.split}/straightness", bend.mean(), sync_dist=True)


class RectifiedFlow(FlowMatching):
    """Flow matching on straight paths, which reflow straightens further. Liu et al. 2023 (arXiv:2209.03003), eq. 1."""

    defaults: ClassVar[Defaults] = Defaults(Linear(), Velocity(), Sampling(Adaptive(), nfe=0))


def straightness(denoise: Denoise, eps: Tensor, steps: int = 32) -> Tensor:
    """`S = int |(x_1 - x_0) - dx/dt|^2 dt` along the flow from noise `eps`, a mean over dimensions; shape `(B,)`.

    Time is counted in units of the whole way. 0 for straight paths, which one Euler step follows exactly. Liu et al.
    2023 (arXiv:2209.03003), section 2.1, with the integral by Euler's method.
    """
    schedule = denoise.schedule
    times = torch.linspace(schedule.t_max, schedule.t_min, steps + 1, dtype=torch.float64)
    start = x = schedule(times[0]).sigma.to(eps) * eps
    slopes = []
    for t, s in itertools.pairwise(times.unbind()):
        slopes.append(velocity(denoise, x, t))
        x = x + (s - t).item() * slopes[-1]
    chord = (x - start) / (times[-1] - times[0]).item()
    bends = torch.stack([((chord - slope) ** 2).flatten(1).mean(1) for slope in slopes])
    return bends.mean(0) * (times[-1] - times[0]).item() ** 2
