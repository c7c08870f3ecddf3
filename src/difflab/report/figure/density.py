"""The density of x_t over time, with samples of the SDE and of the ODE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from difflab.data.module import DataModule
from difflab.denoiser.exact import Mixture
from difflab.process.noise import SampleNoise
from difflab.process.schedule import Schedule
from difflab.report.figure.base import SMALL, WIDTH, Drawing, at_least
from difflab.report.figure.plane import follow, law_of, on_a_line, spread_of, square
from difflab.sampler.base import Sampler
from difflab.sampler.euler_maruyama import EulerMaruyama
from difflab.sampler.heun import Heun

TIMES, PLACES = 160, 200  # of the picture of a density on the line
FINE = 70  # a side, of one in the plane
NOISY, CLEAN = -6.0, 6.0  # log-SNR of the first and of the last column


@dataclass(frozen=True)
class Density(Drawing):
    """p_t(x) from data to noise with the paths of samples: of the first coordinate over time, or in the plane.

    dimensions: 1 or 2. particles: paths. steps: of each. columns: times that are shown in the plane. Raises ValueError
    for data that are no points in the plane, and other dimensions.
    """

    data: DataModule
    schedule: Schedule
    dimensions: int = 1
    particles: int = 24
    steps: int = 200
    columns: int = 5
    seed: int = 0
    title: ClassVar[str] = "One density, two ways to follow it"
    options: ClassVar[Mapping[str, str]] = {"data": "mixture", "schedule": "vp"}

    def __post_init__(self) -> None:
        if self.dimensions not in (1, 2):
            raise ValueError(f"dimensions={self.dimensions}: choose 1, the first coordinate over time, or 2, the plane")
        at_least(1, particles=self.particles, steps=self.steps)
        at_least(2, columns=self.columns)
        _ = self.law

    @cached_property
    def law(self) -> Mixture:
        """The exact denoiser of the law that is drawn."""
        law = law_of(self.data, self.schedule)
        return on_a_line(law) if self.dimensions == 1 else law

    @property
    def caption(self) -> str:
        """What is shown, with its formula."""
        return (
            r"Shading: $p_t(x)$, which solves the Fokker-Planck equation $\partial_t p=-\nabla\cdot(f x\,p)+"
            r"\frac{1}{2}g^2\,\Delta p$ and here is known exactly. Both the reverse SDE, "
            r"$dx=(f x-g^2\nabla\log p_t)\,dt+g\,d\bar w$, and the ODE of the probability flow, "
            r"$dx=(f x-\frac{1}{2}g^2\nabla\log p_t)\,dt$, carry noise into data through these densities; only single "
            r"paths differ."
        )

    @cached_property
    def paths(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Times `(S,)` and samples `(S, N, D)` by the SDE and by the ODE, from the same starts."""
        n = self.particles if self.dimensions == 1 else 400
        start = SampleNoise(self.seed, range(n))(torch.empty(n, *self.law.shape), 0)
        samplers: dict[str, Sampler] = {"reverse SDE": EulerMaruyama(), "probability-flow ODE": Heun()}
        return {name: follow(self.law, sampler, start, self.steps, self.seed) for name, sampler in samplers.items()}

    def draw(self) -> Figure:
        """Draw a row for each way."""
        return self.on_the_line() if self.dimensions == 1 else self.in_the_plane()

    def on_the_line(self) -> Figure:
        """Time from left to right, the coordinate upwards."""
        figure = self.canvas(3.9)
        axes = figure.subplots(2, 1, sharex=True, sharey=True)
        times = self.schedule.time(torch.linspace(0, 1, TIMES, dtype=torch.float64))
        times = torch.cat([self.schedule.time(torch.tensor([0.002], dtype=torch.float64)), times[1:]])
        reach = max(spread_of(self.schedule, t) for t in times)
        places = torch.linspace(-reach, reach, PLACES)[:, None]
        shade = np.stack([self.law.log_prob(places, t).exp().numpy() for t in times], 1)
        shade = shade / shade.max(0)
        for panel, (name, (at, x)) in zip(axes, self.paths.items(), strict=True):
            panel.imshow(shade**0.7, extent=(0, 1, -reach, reach), origin="lower", aspect="auto", vmax=1.3)
            panel.plot(self.schedule.fraction(at), x[..., 0], color="#f86000", lw=0.6, alpha=0.8)
            panel.set(ylabel="x", title=name)
        axes[-1].set(xlabel="share of the time axis (0: data, 1: noise)", xlim=(0, 1), ylim=(-reach, reach))
        return figure

    def in_the_plane(self) -> Figure:
        """A column for each time, the samples as dots."""
        figure = self.canvas(2 * 0.95 * WIDTH / self.columns + 0.2)
        axes = figure.subplots(2, self.columns)
        levels = torch.linspace(NOISY, CLEAN, self.columns, dtype=torch.float64)
        for row, (name, (at, x)) in zip(axes, self.paths.items(), strict=True):
            row[0].set_ylabel(name)
            for panel, level in zip(row, levels, strict=True):
                k = int((self.schedule.log_snr(at) - level).abs().argmin())
                self.panel(panel, at[k], x[k])
        for panel, level in zip(axes[0], levels.tolist(), strict=True):
            panel.set_title(f"log-SNR {level:g}", fontsize=SMALL)
        return figure

    def panel(self, axes: Axes, t: Tensor, x: Tensor) -> None:
        """The density at one time, and the samples."""
        reach = spread_of(self.schedule, t)
        shade = self.law.log_prob(square(reach, FINE), t).exp().view(FINE, FINE)
        axes.imshow(shade, extent=(-reach, reach, -reach, reach), origin="lower", vmax=1.3 * float(shade.max()))
        axes.scatter(x[:, 0], x[:, 1], s=1.5, color="#f86000", alpha=0.7, linewidths=0)
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        axes.tick_params(labelsize=SMALL - 1)
