"""What the label alone changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from difflab.experiment.picture.files import save_png
from difflab.experiment.picture.samples import square
from difflab.experiment.picture.sheet import Sheet
from difflab.experiment.picture.tile import rows_of
from difflab.experiment.task.base import Job, Outcome
from difflab.sampler.generate import Samples


@dataclass(frozen=True)
class Classes:
    """A row for each class, or for each of `labels=`, and a column for each sample, all rows from the same noise."""

    n: ClassVar[int] = 10

    def require(self, job: Job) -> None:
        """Raise ValueError for an unconditional run, and for captions that no prompts choose from."""
        if not job.classes:
            raise ValueError("task=classes varies the label, and this run is unconditional")
        if job.looks_up:
            raise ValueError("task=classes has a row for each prompt of a run with captions: add prompts=[..]")

    def shown(self, job: Job) -> Sequence[int]:
        """The classes of the rows."""
        return job.asked or range(job.classes)

    def sheet(self, job: Job, x: Tensor, evaluations: float) -> Sheet:
        """A row for each class; of points, a density for each class."""
        rows = [job.tiles(row) for row in torch.split(x, job.n)]
        title, below = "Each class from the same noise", job.footer(evaluations)
        names = [job.names[label] for label in self.shown(job)]
        if not job.codec.cloud:
            return Sheet(rows, row_titles=names, title=title, footer=below)
        densities = [tile for row in rows for tile in row]
        columns = square(len(densities), 1, 1)
        captions = rows_of(names, columns)
        return Sheet(rows_of(densities, columns), captions, title=title, footer=below, extent=job.extent)

    def samples(self, job: Job) -> Samples:
        """The samples of all rows, `(rows n, *)`."""
        shown = self.shown(job)
        labels = torch.tensor(shown).repeat_interleave(job.n)
        return job.integrate("sampling", job.times, None, labels, [*range(job.n)] * len(shown))

    def __call__(self, job: Job) -> Outcome:
        """Write classes.png and samples.npz."""
        x, evaluations = self.samples(job)
        path = save_png(self.sheet(job, x, evaluations).image, job.folder / "classes.png")
        job.save_samples(x, torch.tensor(self.shown(job)).repeat_interleave(job.n))
        return Outcome(path, len(x), evaluations, {})
