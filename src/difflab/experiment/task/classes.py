"""What the label alone changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from difflab.experiment.picture import picture, save_png
from difflab.experiment.task.base import Job, Outcome
from difflab.sampler.generate import Samples


@dataclass(frozen=True)
class Classes:
    """A row for each class and a column for each sample, all rows from the same noise."""

    n: ClassVar[int] = 10

    def require(self, job: Job) -> None:
        """Raise ValueError for an unconditional run, and where a single label is asked for."""
        if not job.classes:
            raise ValueError("task=classes varies the label, and this run is unconditional")
        if job.label is not None:
            raise ValueError(f"task=classes shows every class: leave out label={job.label}")

    def samples(self, job: Job) -> Samples:
        """The samples of all rows, `(classes n, *)`."""
        labels = torch.arange(job.classes).repeat_interleave(job.n)
        return job.integrate("sampling", job.times, None, labels, [*range(job.n)] * job.classes)

    def __call__(self, job: Job) -> Outcome:
        """Write classes.png."""
        x, evaluations = self.samples(job)
        image = picture(job.codec.decode(x), job.n, job.codec)
        return Outcome(save_png(image, job.folder / "classes.png"), len(x), evaluations, {})
