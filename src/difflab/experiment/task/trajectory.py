"""How samples come about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from difflab.experiment.machine.hardware import autocast
from difflab.experiment.picture.files import save_gif, save_png
from difflab.experiment.picture.points import extent_of, paths
from difflab.experiment.picture.sheet import Sheet
from difflab.experiment.picture.text import number
from difflab.experiment.task.base import Job, Outcome
from difflab.process.noise import SampleNoise
from difflab.process.ranges import Count
from difflab.sampler.evaluations import counting
from difflab.sampler.generate import trajectory

FRAMES = 60  # of the GIF, at most
REST = 15  # frames for which it stands still at the end
PATHS = 300  # of points, at most
LARGE = 1.01  # hypot(alpha, sigma) above which paths of points are scaled
KINDS = ("x_t", "x0 estimate")


def spread(n: int, most: int) -> list[int]:
    """At most so many of 0..n-1, from the first to the last and evenly between."""
    chosen = torch.linspace(0, n - 1, min(n, most)).round().long()
    return [int(k) for k in chosen]


class Followed(NamedTuple):
    """Samples on their way."""

    times: list[Tensor]
    x: list[Tensor]  # (n, *) at each time
    estimates: list[Tensor]  # of x0, from x
    evaluations: float  # of the network, for each sample


@dataclass(frozen=True)
class Trajectory:
    """Samples on their way from noise to data, and what the denoiser takes them for at each time.

    Sheets show `x_t / hypot(alpha, sigma)`. The evaluations that only show an estimate are not counted. Raises
    ValueError for less than two columns.
    """

    columns: Count = 12
    n: ClassVar[int] = 4

    def __post_init__(self) -> None:
        if self.columns < 2:
            raise ValueError(f"task.columns={self.columns}: ask for two at least, noise and data")

    def require(self, job: Job) -> None:
        """Raise ValueError where the grid has no such steps."""
        len(job.stops)  # made now, while it can be refused

    @torch.no_grad()
    def follow(self, job: Job) -> Followed:
        """The samples at each time, the estimates there, and the network evaluations for each sample."""
        device, times, guided = job.denoiser.device, job.stops, job.guided
        denoise, start = guided.bind(job.labels.to(device)), job.noise(job.seed).to(device)
        noise = SampleNoise(job.seed, range(job.n))
        with autocast(device, job.recipe.precision):
            with counting(guided) as rows:
                path = [(times[0], start), *trajectory(denoise, job.recipe.sampler, times, start, noise)]
            estimates = [denoise(x, t).x0.cpu() if t > 0 else x.cpu() for t, x in path]
        return Followed([t for t, _ in path], [x.cpu() for _, x in path], estimates, sum(rows) / job.n)

    def __call__(self, job: Job) -> Outcome:
        """Write trajectory.png, trajectory.gif and samples.npz; of points densities.png, too.

        The rows of a sheet are x_t and, below it, the estimate of x0, for each image or for all points together. Of
        points this sheet is densities.png, and trajectory.png shows the path of each.
        """
        found, cloud = self.follow(job), job.codec.cloud
        levels = [job.guided.schedule.log_snr(t).item() for t in found.times]
        names = [job.names[k] for k in job.labels.tolist()] if job.classes and not cloud else []
        below = job.footer(found.evaluations)

        def both(k: int) -> tuple[list[Image.Image], list[Image.Image]]:
            return job.tiles(job.looks(found.x[k], found.times[k])), job.tiles(found.estimates[k])

        chosen = spread(len(levels), self.columns)
        columns = [both(k) for k in chosen]
        rows = [[column[kind][sample] for column in columns] for sample in range(len(columns[0][0])) for kind in (0, 1)]
        captions = [f"t={number(found.times[k].item())}\nlog-SNR\n{number(levels[k])}" for k in chosen]
        titles = [f"{name}\n{kind}" for name in (names or [""] * (len(rows) // 2)) for kind in KINDS]
        sheet = Sheet(rows, [captions], titles, "From noise to data", below, job.extent)
        path = save_png(sheet.image, job.folder / ("densities.png" if cloud else "trajectory.png"))
        if cloud:
            path = save_png(self.path_sheet(job, found, below).image, job.folder / "trajectory.png")
        kept = spread(len(levels), FRAMES)
        frames = []
        for k in kept:
            title = f"t = {number(found.times[k].item())}, log-SNR = {number(levels[k])}"
            frames.append(Sheet(both(k), [names], KINDS, title, extent=job.extent).image)
        save_gif([*frames, *[frames[-1]] * REST], job.folder / "trajectory.gif")
        x, estimates = (torch.stack([each[k] for k in kept]).movedim(2, -1) for each in (found.x, found.estimates))
        times, log_snr = (torch.tensor([float(each[k]) for k in kept]) for each in (found.times, levels))
        job.save_samples(found.x[-1], job.labels, times=times, log_snr=log_snr, x_t=x, x0=estimates)
        return Outcome(path, job.n, found.evaluations, {})

    def path_sheet(self, job: Job, found: Followed, below: str) -> Sheet:
        """The paths of the first points: of x_t, or, where noise grows far larger than the data, as `Job.looks`."""
        sizes = [torch.hypot(*job.guided.schedule(t)).item() for t in found.times]
        large = max(sizes) > LARGE
        states = [job.looks(x, t) if large else x for x, t in zip(found.x, found.times, strict=True)]
        points = torch.stack([job.codec.show(job.codec.decode(x[:PATHS])) for x in states])
        what = "x_t / √(α² + σ²)" if large else "x_t"
        title = f"{what} of {points.shape[1]} samples, from noise (○) to data (●)"
        extent = extent_of(points)
        return Sheet([[paths(points, extent)]], title=title, footer=below, extent=extent)
