"""Samples from noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from difflab.experiment.picture.files import save_png
from difflab.experiment.picture.samples import sample_sheet
from difflab.experiment.picture.tile import tile
from difflab.experiment.task.base import Job, Outcome


@dataclass(frozen=True)
class Draw:
    """`n` samples as a grid, as an .npz, and with `singles` one by one."""

    singles: bool = False
    n: ClassVar[int] = 64

    def require(self, job: Job) -> None:
        """Raise ValueError for single images of points."""
        if self.singles and job.codec.cloud:
            raise ValueError("task.singles=true writes a PNG for each image, and these samples are points")

    def __call__(self, job: Job) -> Outcome:
        """Write grid.png, samples.npz, and 000000.png and so on."""
        with job.bar("sampling", job.n) as progress:
            drawn = job.recipe.draw(job.denoiser, job.labels, job.seed, batch_size=job.batch_size, progress=progress)
        samples = job.codec.decode(drawn.x)
        single = len(job.asked) == 1
        title = f"{job.n:,} samples" + (f" of class {job.names[job.asked[0]]}" if single else "")
        names = () if single else job.names  # one name for all samples is in the title
        sheet = sample_sheet(samples, job.labels, names, job.codec, title, job.footer(drawn.nfe))
        path = save_png(sheet.image, job.folder / "grid.png")
        job.save_samples(drawn.x, job.labels)
        if self.singles:
            for k, one in enumerate(job.codec.show(samples)):
                save_png(tile(one), job.folder / f"{k:06d}.png")
        return Outcome(path, job.n, drawn.nfe, {})
