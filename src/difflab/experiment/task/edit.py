"""Held-out samples under another label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from PIL.Image import Image
from torch import Tensor

from difflab.experiment.picture.files import save_png
from difflab.experiment.picture.sheet import Sheet
from difflab.experiment.task.base import Job, Outcome, last
from difflab.experiment.task.invert import decode, encode, held_out_title, require_flow
from difflab.process.noise import SampleNoise
from difflab.process.ranges import Label
from difflab.sampler.generate import Samples


@dataclass(frozen=True)
class Edit:
    """Held-out samples noised up to the share `strength` of the grid's steps, and denoised under `label`.

    Meng et al. 2022 (arXiv:2108.01073), Algorithm 1. With `invert` it is the flow that takes them up, under the label
    that they have, and what noise would wash out is kept. Raises ValueError for a strength outside [0, 1].
    """

    label: Label | str
    strength: float = 0.5
    invert: bool = False
    n: ClassVar[int] = 40

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise ValueError(f"task.strength={self.strength} must lie in [0, 1]: 0 changes nothing, 1 is a new sample")

    def require(self, job: Job) -> None:
        """Raise ValueError where there is no such label, for inversion without a flow, and for learned encoders."""
        job.denoiser.require_mixes("task=edit")
        if not job.classes:
            raise ValueError("task=edit changes the label, and this run is unconditional")
        self.new(job)
        self.times(job)
        if self.invert:
            require_flow(job)
        job.held_out(job.seed)

    def new(self, job: Job) -> int:
        """The number of the new class."""
        return job.label_of("task.label", self.label)

    def times(self, job: Job) -> Tensor:
        """The last steps of the grid, the share `strength` of them. Raises ValueError where that is less than one."""
        steps = len(job.stops) - 1
        kept = round(self.strength * steps)
        if self.strength and not kept:
            raise ValueError(
                f"task.strength={self.strength:g} of {steps} step{'s' * (steps > 1)} is not one step, and would change "
                f"nothing: give a larger nfe or task.strength"
            )
        return job.stops[steps - kept :]

    def noised(self, job: Job, x0: Tensor, times: Tensor) -> Samples:
        """The samples at `times[0]`, and the network evaluations that each took."""
        if self.invert:
            return encode(job.own, x0, job.own.labels, times)
        eps = SampleNoise(job.seed, range(job.n))(x0, 0)
        return Samples(job.guided.schedule(times[0])(x0, eps), 0.0)

    def edited(self, job: Job, x0: Tensor) -> Samples:
        """What becomes of held-out samples."""
        times = self.times(job)
        x, up = self.noised(job, x0, times)
        x, down = decode(job, x, torch.full_like(job.labels, self.new(job)), times)
        return Samples(x, up + down)

    def __call__(self, job: Job) -> Outcome:
        """Write edit.png: a row for each label, of samples, each with what became of it beside it; and samples.npz."""
        x0 = job.held_out(job.seed)
        after, evaluations = self.edited(job, x0)
        before, labels = job.own.labels, torch.unique(job.own.labels)
        rows = [interleaved(job.tiles(x0[those]), job.tiles(after[those])) for those in before == labels[:, None]]
        new = job.names[self.new(job)]
        captions = [held_out_title(job.codec), f"to {new}"] * (len(rows[0]) // 2)
        title = f"Held-out samples, edited to {new} with strength {self.strength:g}"
        names = [job.own.names[k] for k in labels.tolist()]
        sheet = Sheet(rows, [captions], names, title, job.footer(evaluations), job.extent)
        path = save_png(sheet.image, job.folder / "edit.png")
        held_out = last(job.codec.decode(x0))
        job.save_samples(after, torch.full_like(before, self.new(job)), held_out=held_out, held_out_labels=before)
        return Outcome(path, job.n, evaluations, {})


def interleaved(first: Sequence[Image], second: Sequence[Image]) -> list[Image]:
    """The first of both, then the second of both, and so on."""
    return [one for pair in zip(first, second, strict=True) for one in pair]
