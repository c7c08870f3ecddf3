"""Samples on their way in the plane: SDE, ODE, straight flow and flow map."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import ClassVar

import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from difflab.data.module import DataModule
from difflab.denoiser.base import AnyDenoiser
from difflab.denoiser.exact import Mixture
from difflab.denoiser.exact_flow import ExactFlowMap
from difflab.experiment.picture.files import save_gif
from difflab.process.noise import SampleNoise
from difflab.process.schedule import Linear, Schedule
from difflab.report.figure.base import FORMATS, WIDTH, Drawing, at_least, ink, themed
from difflab.report.figure.plane import follow, law_of
from difflab.report.figure.score import draw_density
from difflab.sampler.base import Sampler
from difflab.sampler.ddim import DDIM
from difflab.sampler.euler_maruyama import EulerMaruyama
from difflab.sampler.heun import Heun

FRAMES = 40
EXTENT = 3.0


@dataclass(frozen=True)
class Paths(Drawing):
    """The same noise on its way to data by the reverse SDE, the probability flow, the straight schedule and a flow map.

    particles: paths. steps: of each but the flow map, which takes one. animate: write NAME.gif, too. Raises ValueError
    for data that are no points in the plane.
    """

    data: DataModule
    schedule: Schedule
    particles: int = 24
    steps: int = 150
    animate: bool = False
    seed: int = 0
    title: ClassVar[str] = "Four ways from noise to data"
    options: ClassVar[Mapping[str, str]] = {"data": "eight_gaussians", "schedule": "vp"}

    def __post_init__(self) -> None:
        at_least(1, particles=self.particles, steps=self.steps)
        _ = self.law

    @cached_property
    def law(self) -> Mixture:
        """The exact denoiser on the schedule."""
        return law_of(self.data, self.schedule)

    @property
    def caption(self) -> str:
        """What is shown, with its formula."""
        return (
            r"From the same starts (rings), $x_t/\sqrt{\alpha_t^2+\sigma_t^2}$ on its way to data (dots; shading: "
            r"$\log p_0$). Reverse SDE: $dx=(f x-g^2\nabla\log p_t)\,dt+g\,d\bar w$. Probability flow: "
            r"$dx=(f x-\frac{1}{2}g^2\nabla\log p_t)\,dt$. Straight schedule: the flow of "
            r"$x_t=(1-t)x_0+t\,\varepsilon$. Flow map: the chord $X(x_t;t\to 0)$, one step to the end of that "
            r"flow. Both flows end at the same points up to the noise that is left of the first."
        )

    @cached_property
    def paths(self) -> dict[str, Tensor]:
        """Samples `(S, N, 2)` on their way by each, divided by hypot(alpha, sigma)."""
        straight = Linear()
        flow = ExactFlowMap(law_of(self.data, straight), tolerance=1e-6)
        z = SampleNoise(self.seed, range(self.particles))(torch.empty(self.particles, 2), 0)
        ways: dict[str, tuple[AnyDenoiser, Sampler, int]] = {
            "reverse SDE": (self.law, EulerMaruyama(), self.steps),
            "probability flow": (self.law, Heun(), self.steps),
            "straight schedule": (flow.exact, Heun(), self.steps),
            "flow map, 1 step": (flow, DDIM(), 1),
        }
        found = {}
        for name, (denoiser, sampler, steps) in ways.items():
            times, x = follow(denoiser, sampler, z, steps, self.seed)
            found[name] = x / torch.hypot(*denoiser.schedule(times)).float()[:, None, None]
        return found

    def draw(self) -> Figure:
        """Draw a panel for each way."""
        return self.at(1.0)

    def at(self, share: float) -> Figure:
        """The same when a share of the steps is done."""
        figure = self.canvas(0.92 * WIDTH / len(self.paths) + 0.2)
        t = self.law.schedule.time(torch.tensor(1e-4, dtype=torch.float64))
        for axes, (name, x) in zip(figure.subplots(1, len(self.paths)), self.paths.items(), strict=True):
            draw_density(axes, self.law, t, EXTENT)
            place = share * (len(x) - 1)
            k = int(place)
            now = x[k] if k + 1 == len(x) else torch.lerp(x[k], x[k + 1], place - k)  # a chord is a straight line
            way = torch.cat([x[: k + 1], now[None]])
            axes.plot(*way.permute(2, 0, 1), color="#f86000", lw=0.4, alpha=0.7)
            axes.scatter(*x[0].T, s=7, facecolors="none", edgecolors=ink(), linewidths=0.5)
            axes.scatter(*now.T, s=5, color="#b000b8", linewidths=0, zorder=3)
            axes.set(xlim=(-EXTENT, EXTENT), ylim=(-EXTENT, EXTENT), aspect="equal", title=name)
            axes.set_xticks([-2, 0, 2])
            axes.set_yticks([-2, 0, 2])
        return figure

    def frames(self) -> Iterator[Image.Image]:
        """The pictures of the animation, the last of which stands still for a while."""
        with themed("light"):
            for k in range(FRAMES + 1):
                file = BytesIO()
                self.at(k / FRAMES).savefig(file, format="png", dpi=100)
                yield Image.open(file).convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE)

    def write(
        self, folder: Path, name: str, formats: Sequence[str] = FORMATS, themes: Sequence[str] = ("light", "dark")
    ) -> list[Path]:
        """Write the figure and, where it is chosen, the animation."""
        paths = super().write(folder, name, formats, themes)
        if self.animate:
            frames = [*self.frames()]
            paths.append(save_gif([*frames, *[frames[-1]] * 15], folder / f"{name}.gif"))
        return paths
