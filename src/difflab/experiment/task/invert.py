"""From held-out samples to their noise and back, along the probability flow."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from difflab.experiment.build import build
from difflab.experiment.config import nodes_of
from difflab.experiment.picture import save_png, sheet
from difflab.experiment.progress import silently
from difflab.experiment.task.base import Job, Outcome
from difflab.metric.psnr import psnr
from difflab.process.gaussian import scale
from difflab.process.schedule import Schedule
from difflab.sampler.base import is_noise
from difflab.sampler.generate import Samples

COLUMNS = 16  # samples in a picture


def deterministic() -> list[str]:
    """The options of `sampler=` that draw no noise."""
    return [option for option, node in nodes_of("sampler").items() if not build(node).stochastic]


def require_flow(job: Job) -> None:
    """Raise ValueError unless the sampler follows the probability flow, and can follow it upwards."""
    sampler = job.recipe.sampler
    if sampler.stochastic:
        raise ValueError(
            f"{sampler} draws noise, and only the probability flow can be followed to noise and back: choose "
            f"sampler={', '.join(deterministic())}"
        )
    one = replace(job, n=1, bar=silently)
    if not encode(one, torch.zeros(1, *job.denoiser.shape), one.labels, one.times).images.isfinite().all():
        raise ValueError(f"{sampler} on {job.recipe.grid} does not stay finite upwards on {job.guided.schedule}")


def rising(times: Tensor, schedule: Schedule) -> Tensor:
    """The falling times of a grid turned round: from t_min, the least noisy time that is trained on, up to the first.

    Of a grid that is nothing but its end, t = 0, that end.
    """
    above = times[times > schedule.t_min * (1 + 1e-6)]
    return torch.cat([times[:1].clamp(max=schedule.t_min), above.flip(0)])


def encode(job: Job, x0: Tensor, labels: Tensor, times: Tensor) -> Samples:
    """What the probability flow makes of clean samples at `times[0]`: the job's sampler, run up the falling times.

    Song, Meng & Ermon 2021 (arXiv:2010.02502), section 5.4; Dhariwal & Nichol 2021 (arXiv:2105.05233), appendix F.
    """
    schedule = job.guided.schedule
    up = rising(times, schedule)
    x = scale(schedule(up[0]).alpha, x0)
    # no history is of use to the step into pure noise, where the log-SNR is infinite
    legs = [up[:-1], up[-2:]] if is_noise(schedule(up[-1])) else [up]
    evaluations = 0.0
    for leg in legs:
        x, more = job.integrate("encoding", leg, x, labels)
        evaluations += more
    return Samples(x, evaluations)


def decode(job: Job, x: Tensor, labels: Tensor, times: Tensor) -> Samples:
    """What the job's sampler makes of samples at `times[0]`."""
    return job.integrate("decoding", times, x, labels)


def rmse(x: Tensor, y: Tensor) -> float:
    """The root mean square of a difference, in the model's units: of images' range, -1..1."""
    return (x - y).square().mean().sqrt().item()


@dataclass(frozen=True)
class Invert:
    """Held-out samples, the noise that the flow takes them to, and what it makes of that noise."""

    n: ClassVar[int] = 16

    def require(self, job: Job) -> None:
        """Raise ValueError unless the sampler follows the flow both ways, and there are enough held-out samples."""
        require_flow(job)
        job.held_out(job.seed)

    def __call__(self, job: Job) -> Outcome:
        """Write invert.png, a row each for samples, noise and reconstructions; measure these."""
        x0 = job.held_out(job.seed)
        noise, up = encode(job, x0, job.labels, job.times)
        again, down = decode(job, noise, job.labels, job.times)
        rows = [x0, job.looks(noise, job.times[0]), again]
        path = save_png(sheet([job.tiles(row)[:COLUMNS] for row in rows]), job.folder / "invert.png")
        measured = {"rmse": rmse(again, x0)}
        if not job.codec.cloud:
            measured["psnr"] = psnr(again, x0).mean().item()
        return Outcome(path, job.n, up + down, measured)
