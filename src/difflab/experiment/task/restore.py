"""Held-out images from measurements of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from difflab.experiment.picture.files import save_png
from difflab.experiment.picture.samples import short
from difflab.experiment.sampling.recipe import Recipe
from difflab.experiment.task.base import Job, Outcome, last
from difflab.experiment.task.invert import COLUMNS
from difflab.guidance.base import Chain
from difflab.guidance.problem import Operator
from difflab.guidance.restoration import Restoration
from difflab.objective.nearness import nearness
from difflab.process.noise import keyed
from difflab.process.ranges import Size
from difflab.sampler.generate import Samples


@dataclass(frozen=True)
class Restore:
    """Held-out images of which `y = problem(x0) + noise_std z` was measured, sampled as the restoration guides."""

    problem: Operator
    restoration: Restoration
    noise_std: Size = 0.0
    n: ClassVar[int] = 16

    def recipe(self, job: Job, y: Tensor) -> Recipe:
        """The job's recipe, restoring first."""
        guidance = self.restoration(self.problem, y.to(job.denoiser.device), self.noise_std)
        return replace(job.recipe, guidance=Chain((guidance, *job.recipe.guidance.parts)))

    def require(self, job: Job) -> None:
        """Raise ValueError where the recipe does not go with the measurement, for latents, and for too few images."""
        if job.codec.space:
            raise ValueError(
                "task=restore measures pixels, and this run models latents: restore by a run that was trained without "
                "first_stage="
            )
        self.recipe(job, self.problem(job.held_out(job.seed)[:1])).dry_run(job.denoiser)

    def measure(self, job: Job, x0: Tensor) -> Tensor:
        """The measurements of clean samples; the noise on row k is a function of the job's seed and k."""
        y = self.problem(x0)
        noise = [torch.randn(row.shape, generator=keyed(job.seed, k)) for k, row in enumerate(y)]
        return y + self.noise_std * torch.stack(noise)

    def restored(self, job: Job, y: Tensor) -> Samples:
        """What the measurements come from, by the model: of the asked labels or prompts, or else of any."""
        labels = job.labels if job.asked or job.prompts else torch.full((job.n,), job.classes)
        parts = []
        for rows in torch.split(torch.arange(job.n), job.batch_size):  # a guidance is that of one batch's measurements
            part = replace(job, recipe=self.recipe(job, y[rows]))
            parts.append(part.integrate("restoring", part.times, None, labels[rows], rows.tolist()))
        evaluations = sum(len(x) * each for x, each in parts) / job.n
        return Samples(torch.cat([part.images for part in parts]), evaluations)

    def __call__(self, job: Job) -> Outcome:
        """Write restore.png, a row each for the truth, the pseudo-inverse and the restored, and samples.npz.

        PSNR in dB is measured of the pseudo-inverse and of the restored, and SSIM where images have 11 pixels a side.
        """
        x0 = job.held_out(job.seed)
        y = self.measure(job, x0)
        x, evaluations = self.restored(job, y)
        plain = self.problem.pinv(y)
        near = {"": nearness(x, x0), "_pinv": nearness(plain, x0)}
        measured = {f"{name}{of}": near[of][name].mean().item() for name in near[""] for of in near}
        rows = {
            "held-out": x0,
            f"measured (pseudo-inverse)\nPSNR {measured['psnr_pinv']:.1f} dB": plain,
            f"restored\nPSNR {measured['psnr']:.1f} dB": x,
        }
        title = f"{type(self.problem).__name__} restored by {type(self.restoration).__name__}"
        how = f"noise of the measurement {self.noise_std:g}", short(self.restoration)
        sheet = job.compared(title, rows, COLUMNS, job.footer(evaluations, *how))
        path = save_png(sheet.image, job.folder / "restore.png")
        held_out, pinv = (last(job.codec.decode(each)) for each in (x0, plain))
        job.save_samples(x, job.labels, held_out=held_out, pseudo_inverse=pinv)
        return Outcome(path, job.n, evaluations, measured)
