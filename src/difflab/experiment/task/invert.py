"""From held-out samples to their noise and back, along the probability flow."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from difflab.data.codec import Codec
from difflab.data.latents import Latents
from difflab.experiment.config.compose import nodes_of
from difflab.experiment.machine.terminal import silently
from difflab.experiment.parts.build import build
from difflab.experiment.picture.files import save_png
from difflab.experiment.picture.text import number
from difflab.experiment.task.base import Job, Outcome, last
from difflab.objective.nearness import psnr
from difflab.process.noise import SampleNoise
from difflab.process.schedule import Schedule
from difflab.sampler.base import is_noise
from difflab.sampler.generate import Samples

COLUMNS = 16  # samples in a picture
SMOOTH = 9.0  # log-SNR at which noise has the size of a step between two of 255 grey values


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
    """The falling times of a grid turned round, from the level SMOOTH up to the first, or from t_min if that is later.

    Of a grid that is nothing but its end, t = 0, that end.
    """
    low = max(schedule.t_min, schedule.time_at(torch.tensor(SMOOTH, dtype=torch.float64)).item())
    above = times[times > low * (1 + 1e-6)]
    return torch.cat([times[:1].clamp(max=low), above.flip(0)])


def smoothed(job: Job, x0: Tensor, t: Tensor) -> Tensor:
    """Clean samples with the noise of time `t`: what the flow is followed up from.

    A sample without noise is none that the flow knows at any level, since all of its samples have the noise of theirs.
    Followed up, its pixels get too little of it where the data are smooth: on Fashion16 a standard deviation of .6 to 1
    in place of 1.
    """
    return job.guided.schedule(t)(x0, SampleNoise(job.seed, range(len(x0)))(x0, 0))


def encode(job: Job, x0: Tensor, labels: Tensor, times: Tensor) -> Samples:
    """What the probability flow makes of `smoothed` samples at `times[0]`: the job's sampler, run up the falling times.

    Song, Meng & Ermon 2021 (arXiv:2010.02502), section 5.4; Dhariwal & Nichol 2021 (arXiv:2105.05233), appendix F.
    Theirs go out from samples without noise.
    """
    schedule = job.guided.schedule
    up = rising(times, schedule)
    x = smoothed(job, x0, up[0])
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


def pixels(codec: Codec, x: Tensor) -> Tensor:
    """Samples that models see; of latents the images that they are decoded to, in the same range."""
    return codec.inner.encode(codec.decode(x)) if isinstance(codec, Latents) else x


def held_out_title(codec: Codec) -> str:
    """What held-out samples are called in pictures; of latents they are what the first stage makes of them."""
    return "held-out, by the\nfirst stage" if codec.space else "held-out"


@dataclass(frozen=True)
class Invert:
    """Held-out samples, the noise that the flow takes them to, and what it makes of that noise.

    Of the noise are measured its log-SNR, and the least and largest standard deviation of a sample, in units of
    `hypot(alpha, sigma)`: about 1 if it is noise. Reconstructions of latents are measured in pixels. The flow is that
    of the samples' own labels, with prompts too.
    """

    n: ClassVar[int] = 16

    def require(self, job: Job) -> None:
        """Raise ValueError unless the sampler follows the flow both ways, and there are enough held-out samples."""
        require_flow(job)
        job.held_out(job.seed)

    def __call__(self, job: Job) -> Outcome:
        """Write invert.png, a row each for samples, noise and reconstructions, and samples.npz; measure these."""
        job = job.own
        x0 = job.held_out(job.seed)
        noise, up = encode(job, x0, job.labels, job.times)
        again, down = decode(job, noise, job.labels, job.times)
        stds = noise.flatten(1).std(1) / torch.hypot(*job.guided.schedule(job.times[0])).item()
        level = job.guided.schedule.log_snr(job.times[0]).item()
        measured = {"log_snr": level, "least_std": stds.min().item(), "largest_std": stds.max().item()}
        found, truth = pixels(job.codec, again), pixels(job.codec, x0)
        measured |= {"rmse": rmse(found, truth)}
        if not job.codec.cloud:
            measured["psnr"] = psnr(found, truth).mean().item()
        quality = f"PSNR {measured['psnr']:.1f} dB" if "psnr" in measured else f"RMSE {number(measured['rmse'])}"
        rows = {
            held_out_title(job.codec): x0,
            f"encoded noise\nlog-SNR {number(level)}": job.looks(noise, job.times[0]),
            f"reconstruction\n{quality}": again,
        }
        sheet = job.compared("To noise along the flow, and back", rows, COLUMNS, job.footer(up + down))
        path = save_png(sheet.image, job.folder / "invert.png")
        job.save_samples(again, job.labels, held_out=last(job.codec.decode(x0)), noise=last(noise))
        return Outcome(path, job.n, up + down, measured)
