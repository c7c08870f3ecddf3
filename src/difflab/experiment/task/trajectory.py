"""How samples come about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from PIL import Image
from torch import Tensor

from difflab.experiment.hardware import autocast
from difflab.experiment.picture import save_gif, save_png, sheet
from difflab.experiment.task.base import Job, Outcome
from difflab.process.noise import SampleNoise
from difflab.sampler.evaluations import counting
from difflab.sampler.generate import trajectory

FRAMES = 60  # of the GIF, at most
REST = 15  # frames for which it stands still at the end


def spread(n: int, most: int) -> list[int]:
    """At most so many of 0..n-1, from the first to the last and evenly between."""
    chosen = torch.linspace(0, n - 1, min(n, most)).round().long()
    return [int(k) for k in chosen]


@dataclass(frozen=True)
class Trajectory:
    """Samples on their way from noise to data, and what the denoiser takes them for at each time.

    What is seen is `x_t / hypot(alpha, sigma)`. The evaluations that only show an estimate are not counted. Raises
    ValueError for less than two columns.
    """

    columns: int = 12
    n: ClassVar[int] = 4

    def __post_init__(self) -> None:
        if self.columns < 2:
            raise ValueError(f"task.columns={self.columns}: ask for two at least, noise and data")

    def require(self, job: Job) -> None:
        """Raise ValueError where the grid has no such steps."""
        len(job.stops)  # made now, while it can be refused

    @torch.no_grad()
    def follow(self, job: Job) -> tuple[list[Tensor], list[Tensor], float]:
        """What is seen at each time, the estimates there, and the network evaluations for each sample."""
        device, times, guided = job.denoiser.device, job.stops, job.guided
        denoise, start = guided.bind(job.labels.to(device)), job.noise(job.seed).to(device)
        noise = SampleNoise(job.seed, range(job.n))
        with autocast(device, job.recipe.precision):
            with counting(guided) as rows:
                path = [(times[0], start), *trajectory(denoise, job.recipe.sampler, times, start, noise)]
            estimates = [denoise(x, t).x0.cpu() if t > 0 else x.cpu() for t, x in path]
        return [job.looks(x.cpu(), t) for t, x in path], estimates, sum(rows) / job.n

    def __call__(self, job: Job) -> Outcome:
        """Write trajectory.png, for each sample a row of x_t over one of x0 estimates, and trajectory.gif."""
        seen, estimates, evaluations = self.follow(job)

        def both(k: int) -> tuple[list[Image.Image], list[Image.Image]]:
            return job.tiles(seen[k]), job.tiles(estimates[k])

        columns = [both(k) for k in spread(len(seen), self.columns)]
        rows = [[column[kind][sample] for column in columns] for sample in range(len(columns[0][0])) for kind in (0, 1)]
        path = save_png(sheet(rows), job.folder / "trajectory.png")
        frames = [sheet(both(k)) for k in spread(len(seen), FRAMES)]
        save_gif([*frames, *[frames[-1]] * REST], job.folder / "trajectory.gif")
        return Outcome(path, job.n, evaluations, {})
