"""Noise schedules and sampling grids side by side, without a training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from difflab.process.discrete import Betas, DiscreteSchedule
from difflab.process.schedule import Schedule
from difflab.report.figure.base import Drawing, legend
from difflab.report.style import COLOURS, DASHES
from difflab.sampler.grid import Grid

POINTS = 400  # of a curve
LEVELS = (-12.0, 12.0)  # of log-SNR that are shown


def beta(schedule: Schedule, t: Tensor) -> Tensor:
    """`beta` in units of the whole axis: `T beta_t` of a table, `-2 alpha'/alpha` of a continuous schedule."""
    if isinstance(schedule, Betas):
        return schedule.T * schedule.betas()[(t.long() - 1).clamp(min=0)]
    if isinstance(schedule, DiscreteSchedule):
        return torch.zeros_like(t)
    return -2 * schedule.drift(t)


@dataclass(frozen=True)
class Schedules(Drawing):
    """beta, alpha^2, sigma and log-SNR over time, and where training and sampling spend their time over log-SNR.

    steps: of the sampling grids, which are drawn on the first schedule that is named.
    """

    schedule: Mapping[str, Schedule]
    grid: Mapping[str, Grid]
    steps: int = 20
    title: ClassVar[str] = "Noise schedules and sampling grids"
    options: ClassVar[Mapping[str, str]] = {
        "schedule": "ddpm_linear,ddpm_cosine,vp,ve,linear",
        "grid": "uniform,quadratic,log_snr,karras",
    }

    @property
    def caption(self) -> str:
        """What is shown, with its formula."""
        return (
            r"$x_t=\alpha_t\,x_0+\sigma_t\,\varepsilon$ over the share of the time axis, 0 at data. "
            r"$\beta(t)=-2\,\dot\alpha/\alpha$, of a chain $T\beta_t$; it is 0 where $\alpha=1$. "
            r"$\bar\alpha=\alpha^2$. The log-SNR is $\log(\alpha^2/\sigma^2)$. Share of training: the density of the "
            r"noise levels at which uniform times fall. Share of sampling: the steps of a grid that lie at a lower "
            f"log-SNR, of {self.steps} on {next(iter(self.schedule))}."
        )

    def draw(self) -> Figure:
        """Draw six panels, with the legends beside them."""
        figure = self.canvas(3.8, legends=2)
        axes = figure.subplots(2, 3)
        for k, (name, schedule) in enumerate(self.schedule.items()):
            style = {"color": COLOURS[k % len(COLOURS)], "linestyle": (0, DASHES[k % len(DASHES)]), "lw": 1.2}
            t = times_of(schedule)
            at, m = schedule.fraction(t), schedule(t)
            for panel, values in zip(axes.flat, (beta(schedule, t), m.alpha**2, m.sigma, m.log_snr), strict=False):
                panel.plot(at, values, **style, label=name)
            draw_density(axes[1, 1], m.log_snr, style)
        first = next(iter(self.schedule.values()))
        for k, (name, grid) in enumerate(self.grid.items()):
            times = grid(first, self.steps)[:-1]
            colour = COLOURS[-1 - k % len(COLOURS)]
            rank = np.arange(1, len(times) + 1) / len(times)
            axes[1, 2].plot(first.log_snr(times), rank, marker=".", color=colour, lw=1, label=name)
        for panel, name in zip(axes.flat, (r"$\beta(t)$", r"$\bar\alpha_t$", r"$\sigma_t$", "log-SNR"), strict=False):
            panel.set(xlabel="share of the time axis", title=name)
        axes[0, 0].set_yscale("log")
        axes[0, 2].set_yscale("log")
        axes[1, 0].set_ylim(*LEVELS)
        axes[1, 1].set(xlabel="log-SNR", title="share of training", xlim=LEVELS, ylim=(0, None))
        axes[1, 2].set(xlabel="log-SNR", title="share of sampling", xlim=LEVELS)
        legend(figure, axes[0, 0])
        legend(figure, axes[1, 2], 1)
        return figure


def times_of(schedule: Schedule) -> Tensor:
    """Times from data to noise, of a table every so many steps of it."""
    if isinstance(schedule, DiscreteSchedule):
        return torch.arange(1, schedule.T + 1, max(1, schedule.T // POINTS), dtype=torch.float64)
    return schedule.time(torch.linspace(1e-3, 1, POINTS, dtype=torch.float64))


def draw_density(axes: Axes, log_snr: Tensor, style: Mapping[str, object]) -> None:
    """The density of log-SNR at equidistant times: one over its slope."""
    falling = log_snr.numpy()
    middle, density = (falling[1:] + falling[:-1]) / 2, 1 / (len(falling) * -np.diff(falling))
    axes.plot(middle, density, **style)  # type: ignore[arg-type]
