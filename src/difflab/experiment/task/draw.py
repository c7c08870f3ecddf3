"""Samples from noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from difflab.experiment.picture import picture, save_png, tile
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
        columns = job.classes if job.label is None and job.classes else 8
        path = save_png(picture(samples, columns, job.codec), job.folder / "grid.png")
        array = samples.movedim(1, -1).numpy()  # (n, ..., C)
        np.savez_compressed(job.folder / "samples.npz", arr_0=array, labels=job.labels.numpy())  # as evaluators expect
        if self.singles:
            for k, one in enumerate(job.codec.show(samples)):
                save_png(tile(one), job.folder / f"{k:06d}.png")
        return Outcome(path, job.n, drawn.nfe, {})
