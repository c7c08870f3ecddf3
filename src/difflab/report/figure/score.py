"""The score field of a law in the plane, exact and as a network has learnt it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from difflab.data.module import DataModule
from difflab.denoiser.base import AnyDenoiser
from difflab.denoiser.exact import Mixture
from difflab.experiment.sampling.recipe import Trained
from difflab.process.gaussian import scale
from difflab.process.schedule import Schedule
from difflab.report.figure.base import SMALL, WIDTH, Drawing
from difflab.report.figure.plane import law_of, spread_of, square

ARROWS, FINE = 15, 80  # a side: of arrows, and of the log-density
MOST = 2000  # held-out points over which a network's error is taken
FADED = 12.0  # nats below the highest log-density at which the shading ends


@dataclass(frozen=True)
class Score(Drawing):
    """Arrows of the score over the log-density at several noise levels; of a run, its network's beside the exact one.

    levels: log-SNRs. With a run, data and schedule are the run's. Raises ValueError for data that are no points in the
    plane, and for a run on images.
    """

    data: DataModule
    schedule: Schedule
    run: Trained | None = None
    levels: tuple[float, ...] = (6.0, 2.0, 0.0, -3.0)
    title: ClassVar[str] = "The score at several noise levels"
    options: ClassVar[Mapping[str, str]] = {"data": "eight_gaussians", "schedule": "vp"}

    def __post_init__(self) -> None:
        _ = self.law  # refused now

    @property
    def path(self) -> Schedule:
        """The schedule of the run, or the one that was given."""
        return self.run.denoiser.schedule if self.run else self.schedule

    @cached_property
    def law(self) -> Mixture:
        """The exact denoiser."""
        return law_of(self.run.data if self.run else self.data, self.path)

    @property
    def caption(self) -> str:
        """What is shown, with its formula."""
        error = r"Below, the network's, and its error: $E|s_\theta-s|^2 / E|s|^2$ over the $x_t$ of"
        learnt = f" {error} {self.held_out:,} held-out points." if self.run else ""
        return (
            r"Arrows: the score $\nabla_x\log p_t(x)=-E[\varepsilon\,|\,x_t=x]/\sigma_t$, their lengths scaled in each "
            r"panel. Shading: $\log p_t(x)$. In much noise the field points to the mean of all data, in little noise "
            f"to the nearest component.{learnt}"
        )

    def draw(self) -> Figure:
        """Draw a column for each level."""
        rows = 2 if self.run else 1
        figure = self.canvas(rows * 0.92 * WIDTH / len(self.levels) + 0.2)
        axes = figure.subplots(rows, len(self.levels), squeeze=False)
        for j, level in enumerate(self.levels):
            t = self.path.time_at(torch.tensor(level, dtype=torch.float64))
            draw_field(axes[0, j], self.law, self.law, t)
            axes[0, j].set_title(f"log-SNR {level:g}, t = {float(t):.3g}", fontsize=SMALL)
            if self.run:
                draw_field(axes[1, j], self.law, self.run.denoiser, t)
                axes[1, j].set_title(f"error {100 * self.errors[j]:.2g} %", fontsize=SMALL)
        if self.run:
            axes[0, 0].set_ylabel("exact")
            axes[1, 0].set_ylabel("learnt")
        return figure

    @property
    def held_out(self) -> int:
        """The held-out points of the run over which errors are taken: MOST, or all if there are fewer."""
        assert self.run
        return min(MOST, len(self.run.data.images.test))

    @cached_property
    def errors(self) -> list[float]:
        """The relative squared error of the network's score at each level, over the noisy `held_out` points."""
        assert self.run
        found, g = [], torch.Generator().manual_seed(0)
        x0 = self.run.data.encoded(self.run.data.images.test, torch.arange(self.held_out))
        eps = torch.randn(x0.shape, generator=g)
        for level in self.levels:
            t = self.path.time_at(torch.tensor(level, dtype=torch.float64))
            x = self.path(t)(x0, eps)
            exact, own = score_of(self.law, x, t), score_of(self.run.denoiser, x, t)
            found.append(float((own - exact).square().mean() / exact.square().mean()))
        return found


@torch.no_grad()
def score_of(denoiser: AnyDenoiser, x: Tensor, t: Tensor) -> Tensor:
    """`-eps / sigma` at points `(N, 2)`."""
    null = torch.full((len(x),), denoiser.classes, device=denoiser.device)
    eps: Tensor = denoiser(x.to(denoiser.device), t, null).eps
    return -scale(1 / denoiser.schedule(t).sigma, eps).cpu()


def draw_density(axes: Axes, law: Mixture, t: Tensor, extent: float) -> None:
    """The log-density at a time, as shading from 12 nats below its highest value."""
    high = law.log_prob(square(extent, FINE), t).view(FINE, FINE)
    top: Any = float(high.max())
    reach = (-extent, extent, -extent, extent)
    axes.imshow(high, extent=reach, origin="lower", vmin=top - FADED, vmax=top + 0.3 * FADED, interpolation="bilinear")


def draw_field(axes: Axes, law: Mixture, denoiser: AnyDenoiser, t: Tensor) -> None:
    """A denoiser's score as arrows over the density of the law."""
    extent = spread_of(law.schedule, t)
    draw_density(axes, law, t, extent)
    at = square(0.93 * extent, ARROWS)
    arrows = score_of(denoiser, at, t)
    longest = arrows.norm(dim=1).quantile(0.95)
    arrows = arrows * (longest / arrows.norm(dim=1, keepdim=True).clamp(min=float(longest)))  # the longest are cut
    axes.quiver(*at.T, *arrows.T, color="#f86000", angles="xy", width=0.006, headwidth=4)
    axes.set(xlim=(-extent, extent), ylim=(-extent, extent), aspect="equal")
    axes.tick_params(labelsize=SMALL - 1)
