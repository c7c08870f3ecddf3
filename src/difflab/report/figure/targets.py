"""What a network may be asked to predict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from matplotlib.figure import Figure
from torch import Tensor

from difflab.process.gaussian import Mix, bridge
from difflab.process.noise import SampleNoise
from difflab.process.schedule import Schedule
from difflab.process.target import Target
from difflab.report.figure.base import Drawing, Picture, at_least, grid_height, picture_grid
from difflab.report.figure.forward import grey_or_rgb


@dataclass(frozen=True)
class Targets(Drawing):
    """The noisy image, each target and the posterior mean at times in equal steps, for one image and one noise.

    image: float (C, H, W) in [-1, 1]. columns: times. seed: of the noise. Raises ValueError for less than two columns.
    """

    target: Mapping[str, Target]
    schedule: Schedule
    image: Tensor
    columns: int = 8
    seed: int = 0
    title: ClassVar[str] = "What a network may predict"
    options: ClassVar[Mapping[str, str]] = {"target": "x0,eps,v,velocity,score", "schedule": "vp"}

    def __post_init__(self) -> None:
        at_least(2, columns=self.columns)

    @property
    def caption(self) -> str:
        """What is shown, with its formula."""
        return (
            r"Each target is a mix $y=a\,x_0+b\,\varepsilon$, whose weights stand below it, as $x_t=\alpha_t\,x_0+"
            r"\sigma_t\,\varepsilon$ is; any two of them give $x_0$ and $\varepsilon$. Pictures are divided by "
            r"$|a|+2|b|$. The last row is the mean of $q(x_s\,|\,x_t,x_0)$ half of the way to the data, $s=t/2$: it "
            r"lies between $x_t$ and $x_0$, with the weights below it."
        )

    def draw(self) -> Figure:
        """Draw a row for the noisy image, for each target, and for the posterior mean."""
        times = self.schedule.time(torch.linspace(0.08, 0.92, self.columns, dtype=torch.float64))
        times = self.schedule.snap(times.flip(0)).flip(0)
        mixes = {"xₜ": self.schedule(times)}
        mixes |= {name: target.mix(self.schedule, times) for name, target in self.target.items()}
        rows = [self.pictures(mix) for mix in mixes.values()]
        notes = [[f"{a:+.2g} x₀\n{b:+.2g} ε" for a, b in zip(*mix, strict=True)] for mix in mixes.values()]
        s = self.schedule.snap((times / 2).flip(0)).flip(0) if self.schedule.discrete else times / 2
        mean, m_t = bridge(self.schedule(s), self.schedule(times)).mean, self.schedule(times)
        of_x = mean.sigma / m_t.sigma
        of_x0 = mean.alpha - m_t.alpha * of_x
        rows.append(self.pictures(mean))
        notes.append([f"{a:.2g} xₜ\n{b:+.2g} x₀" for a, b in zip(of_x, of_x0, strict=True)])
        figure = self.canvas(grid_height(len(rows), self.columns, 2))
        titles = [f"t = {t:.3g}" for t in times.tolist()]
        picture_grid(figure, rows, [*mixes, "posterior\nmean"], titles, notes)
        return figure

    def pictures(self, mix: Mix) -> list[Picture | None]:
        """The mixes of image and noise, each divided by |a| + 2 |b|."""
        eps = SampleNoise(self.seed, [0])(self.image[None], 1).expand(self.columns, *self.image.shape)
        whole = mix(self.image.expand_as(eps), eps)
        size = (mix.alpha.abs() + 2 * mix.sigma.abs()).to(whole).reshape(-1, 1, 1, 1)
        return [grey_or_rgb(one) for one in whole / size]
