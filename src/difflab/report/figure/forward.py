"""The forward process: an image that is noised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from matplotlib.figure import Figure
from torch import Tensor

from difflab.process.noise import SampleNoise
from difflab.process.schedule import Schedule
from difflab.report.figure.base import Drawing, Picture, at_least, grid_height, picture_grid

CLEAN, NOISY = 8.0, -8.0  # log-SNR of the first and of the last column


@dataclass(frozen=True)
class Forward(Drawing):
    """One image with noise at times in equal steps of log-SNR, a row for each schedule.

    image: float (C, H, W) in [-1, 1]. columns: times. seed: of the noise. Raises ValueError for less than two columns.
    """

    schedule: Mapping[str, Schedule]
    image: Tensor
    columns: int = 8
    seed: int = 0
    title: ClassVar[str] = "The forward process"
    options: ClassVar[Mapping[str, str]] = {"schedule": "ddpm_linear,ddpm_cosine,vp,ve,linear"}

    def __post_init__(self) -> None:
        at_least(2, columns=self.columns)

    @property
    def caption(self) -> str:
        """What is shown, with its formula."""
        return (
            r"$x_t=\alpha_t\,x_0+\sigma_t\,\varepsilon$, $\varepsilon\sim N(0,I)$, at equal steps of the log-SNR "
            r"$\log(\alpha_t^2/\sigma_t^2)$, with the same noise in all pictures. Each is divided by "
            r"$\alpha_t+2\sigma_t$, so that black and white are the ends of the range. Schedules differ in the time "
            r"$t$ at which they reach a noise level, in the scale of $x_t$, and in the levels that they have."
        )

    def draw(self) -> Figure:
        """Draw a picture for each schedule and level that the schedule has."""
        levels = torch.linspace(CLEAN, NOISY, self.columns, dtype=torch.float64)
        found = [self.row(schedule, levels) for schedule in self.schedule.values()]
        figure = self.canvas(grid_height(len(found), self.columns, 3))
        titles = [f"log-SNR {level:+.1f}" if level else "log-SNR 0" for level in levels.tolist()]
        picture_grid(figure, [row for row, _ in found], [*self.schedule], titles, [notes for _, notes in found])
        return figure

    def row(self, schedule: Schedule, levels: Tensor) -> tuple[list[Picture | None], list[str]]:
        """The noisy image at each level, and under it t, alpha and sigma; nothing at levels that it does not have."""
        ends = schedule.log_snr(torch.tensor([schedule.t_min, schedule.t_max], dtype=torch.float64))
        eps = SampleNoise(self.seed, [0])(self.image[None], 1)
        pictures: list[Picture | None] = []
        notes: list[str] = []
        for level in levels:
            if not ends[1] - 0.5 <= level <= ends[0] + 0.5:
                pictures.append(None)
                notes.append("")
                continue
            t = schedule.time_at(level)
            m = schedule(t)
            seen = m(self.image[None], eps)[0] / (m.alpha + 2 * m.sigma).to(self.image)
            pictures.append(grey_or_rgb(seen))
            notes.append(f"t = {t:.3g}\nα = {m.alpha:.2g}\nσ = {m.sigma:.2g}")
        return pictures, notes


def grey_or_rgb(x: Tensor) -> Picture:
    """A float image (C, H, W) in [-1, 1] as uint8 (H, W) or (H, W, C)."""
    seen = ((x.clamp(-1, 1) + 1) * 127.5).round().byte().movedim(0, -1).squeeze(-1)
    array: Picture = seen.numpy()
    return array
