"""From one prompt to the next, under the same noise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from difflab.experiment.model.conditions import between
from difflab.experiment.picture.files import save_png
from difflab.experiment.picture.sheet import Sheet
from difflab.experiment.picture.text import number
from difflab.experiment.task.base import Job, Outcome
from difflab.process.ranges import Count


@dataclass(frozen=True)
class Between:
    """Samples of what lies between each prompt and the next: linear mixes of what the book makes of them.

    The mixes are of token vectors, place by place, and of pooled vectors. Every frame of sample k has the same noise.
    Raises ValueError for less than two frames.
    """

    frames: Count = 9
    n: ClassVar[int] = 2

    def __post_init__(self) -> None:
        if self.frames < 2:
            raise ValueError(f"task.frames={self.frames}: two ends at least")

    def require(self, job: Job) -> None:
        """Raise ValueError for less than two prompts."""
        if job.prompts is None or len(job.prompts.texts) < 2:
            raise ValueError("task=between goes from one prompt to the next: add prompts=[..,..]")

    def __call__(self, job: Job) -> Outcome:
        """Write between.png, n rows for each pair of prompts, with the weight of the second above; and samples.npz."""
        texts = job.prompts.texts if job.prompts else ()
        weight = torch.linspace(0, 1, self.frames).repeat(len(texts) - 1)
        start = torch.arange(len(texts) - 1).repeat_interleave(self.frames)
        mixed = replace(job, denoiser=between(job.denoiser, start, start + 1, weight))
        pairs = range(len(texts) - 1)
        labels = torch.cat([torch.arange(k * self.frames, (k + 1) * self.frames).repeat(job.n) for k in pairs])
        noise = [k for _ in pairs for k in range(job.n) for _ in range(self.frames)]
        x, evaluations = mixed.integrate("sampling", mixed.times, None, labels, noise)
        rows = [job.tiles(row) for row in torch.split(x, self.frames)]
        weights = [number(round(each, 2)) for each in weight[: self.frames].tolist()]
        titles = [f"{texts[k]} to {texts[k + 1]}" for k in pairs for _ in range(job.n)]
        title = "From one prompt to the next, whose weight stands above"
        sheet = Sheet(rows, [weights], titles, title, job.footer(evaluations))
        path = save_png(sheet.image, job.folder / "between.png")
        job.save_samples(x, start[labels], weights=weight[labels])
        return Outcome(path, len(x), evaluations, {})
