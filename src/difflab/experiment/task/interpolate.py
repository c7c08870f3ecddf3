"""From one sample to another by way of their noises."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from difflab.experiment.picture.files import save_gif, save_png
from difflab.experiment.picture.sheet import Sheet
from difflab.experiment.picture.text import number
from difflab.experiment.task.base import Job, Outcome
from difflab.experiment.task.invert import decode, encode, require_flow
from difflab.process.gaussian import Mix
from difflab.process.ranges import Count, Seed
from difflab.sampler.generate import Samples

REST = 3  # frames for which the GIF stands still at an end, on either way


def slerp(a: Tensor, b: Tensor, u: float) -> Tensor:
    """`(sin((1 - u) w) a + sin(u w) b) / sin w`, `w` being the angle between the samples `a` and `b`, `(B, *)`.

    The arc from `a` to `b`, on which noise of many dimensions keeps its length. Shoemake 1985
    (doi:10.1145/325334.325242); Song, Meng & Ermon 2021 (arXiv:2010.02502), appendix D.5.
    """
    angle = torch.cosine_similarity(a.flatten(1).double(), b.flatten(1).double()).clamp(-1, 1).acos()
    whole = angle.sin()
    arc = Mix(((1 - u) * angle).sin() / whole, (u * angle).sin() / whole)
    line = torch.full_like(angle, 1 - u), torch.full_like(angle, u)
    return Mix(*(torch.where(whole > 1e-6, *both) for both in zip(arc, line, strict=True)))(a, b)


WAYS: Mapping[str, Callable[[Tensor, Tensor, float], Tensor]] = {"spherical": slerp, "linear": torch.lerp}


@dataclass(frozen=True)
class Interpolate:
    """Arcs between the noises of sample k of the seed and of the seed `to`, and what the flow makes of them.

    With `mode="linear"` straight lines, in the middle of which noise is shorter than the model has seen it: what that
    does to samples is the reason for arcs. With `held_out`, between the noises of held-out samples, which the two seeds
    choose. Raises ValueError for less than two frames.
    """

    to: Seed = 1
    frames: Count = 9
    held_out: bool = False
    mode: Literal["spherical", "linear"] = "spherical"
    n: ClassVar[int] = 4

    def __post_init__(self) -> None:
        if self.to < 0:
            raise ValueError(f"task.to={self.to} is a seed, 0 or more")
        if self.frames < 2:
            raise ValueError(f"task.frames={self.frames}: an arc has two ends at least")

    @property
    def weights(self) -> list[float]:
        """The weight of the second end in each frame."""
        return [k / (self.frames - 1) for k in range(self.frames)]

    def require(self, job: Job) -> None:
        """Raise ValueError unless the noise at the start is all there is, and it can be found where it must be."""
        require_flow(job)
        if self.held_out:
            job.held_out(job.seed)

    def noise(self, job: Job, seed: int) -> Samples:
        """One end of the arcs."""
        if self.held_out:
            return encode(job.own, job.held_out(seed), job.own.labels, job.times)
        return Samples(job.noise(seed), 0.0)

    def arcs(self, job: Job) -> Samples:
        """The samples of all frames, `(frames n, *)`."""
        (start, one), (end, other) = self.noise(job, job.seed), self.noise(job, self.to)
        noise = torch.cat([WAYS[self.mode](start, end, weight) for weight in self.weights])
        x, down = decode(job, noise, job.labels.repeat(self.frames), job.times)
        return Samples(x, (one + other) / self.frames + down)

    def __call__(self, job: Job) -> Outcome:
        """Write interpolate.png, a row for each sample, interpolate.gif, there and back, and samples.npz.

        Columns and frames are titled with the weight of the second end, 0 to 1.
        """
        x, evaluations = self.arcs(job)
        columns = [job.tiles(frame) for frame in torch.split(x, job.n)]
        weights = [number(round(weight, 2)) for weight in self.weights]
        names = [job.names[k] for k in job.labels.tolist()] if job.classes and not job.codec.cloud else []
        ends = "noise of held-out samples" if self.held_out else "noise"
        both = f"from {ends} by seed {job.seed} to {ends} by seed {self.to}, whose weight stands above"
        title = f"{self.mode.capitalize()}: {both}"
        rows = [*zip(*columns, strict=True)]
        sheet = Sheet(rows, [weights], names, title, job.footer(evaluations), job.extent)
        path = save_png(sheet.image, job.folder / "interpolate.png")
        there = [
            Sheet([column], [names], title=f"weight {weight}", extent=job.extent).image
            for column, weight in zip(columns, weights, strict=True)
        ]
        there = [*[there[0]] * REST, *there[1:-1], *[there[-1]] * REST]
        save_gif([*there, *reversed(there)], job.folder / "interpolate.gif", milliseconds=120)
        job.save_samples(x, job.labels.repeat(self.frames), weights=torch.tensor(self.weights).repeat_interleave(job.n))
        return Outcome(path, len(x), evaluations, {})
