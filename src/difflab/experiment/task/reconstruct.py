"""Held-out samples, encoded and decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from difflab.data.latents import Latents
from difflab.denoiser.first_stage import Reconstructs
from difflab.experiment.picture.files import save_png
from difflab.experiment.picture.sheet import Sheet
from difflab.experiment.picture.tile import tiles
from difflab.experiment.task.base import Job, Outcome, last
from difflab.objective.nearness import psnr
from difflab.process.noise import SampleNoise

COLUMNS = 16  # samples that are shown


@dataclass(frozen=True)
class Reconstruct:
    """Held-out samples and what the encoder and the decoder of a run make of them, with the PSNR of images.

    Those of a variational autoencoder, or of the first stage of a run that models latents. The latents are draws of the
    posterior.
    """

    n: ClassVar[int] = 16

    def require(self, job: Job) -> None:
        """Raise ValueError for a run without an encoder."""
        if not job.codec.space and not isinstance(job.denoiser, Reconstructs):
            raise ValueError(
                f"task=reconstruct encodes, and {type(job.denoiser).__name__} has no encoder: choose a run of "
                f"paradigm=vae, or one that was trained with first_stage=; task=invert goes to noise and back by a flow"
            )
        job.held_out_rows(job.seed)

    @torch.no_grad()
    def __call__(self, job: Job) -> Outcome:
        """Write reconstruct.png and samples.npz."""
        job = job.own
        x = job.data.images.test.x[job.held_out_rows(job.seed)]
        after = self.reconstructed(job, x)
        codec = job.codec.inner if isinstance(job.codec, Latents) else job.codec
        one, other = codec.encode(after), codec.encode(x)
        if job.codec.cloud:
            measured = {"rms": (one - other).square().mean().sqrt().item()}
            said = f"rms error {measured['rms']:.3g}"
        else:
            measured = {"psnr": psnr(one, other).mean().item()}
            said = f"PSNR {measured['psnr']:.1f} dB"
        rows = [tiles(each[:COLUMNS], job.codec) for each in (x, after)]
        titles = ["held-out", f"reconstructed\n{said}"]
        below = [job.run.folder.name, job.codec.space] if job.codec.space else [job.run.folder.name]
        sheet = Sheet(rows, [[]], titles, "Reconstructions", " · ".join(below), job.extent)
        path = save_png(sheet.image, job.folder / "reconstruct.png")
        job.save_stored(after, job.labels, held_out=last(x))
        return Outcome(path, job.n, 0.0, measured)

    def reconstructed(self, job: Job, x: Tensor) -> Tensor:
        """What becomes of stored samples."""
        noise = SampleNoise(job.seed, range(len(x)))
        if isinstance(job.codec, Latents):
            mean, log_var = job.codec.posterior(x)
            return job.codec.decode(job.codec.whitening(mean + (0.5 * log_var).exp() * noise(mean, 0)))
        x0, device = job.codec.encode(x), job.denoiser.device
        z: Tensor = job.denoiser.reconstruct(x0.to(device), job.labels.to(device), noise)  # type: ignore[operator]  # of those that encode
        return job.codec.decode(z.cpu())
