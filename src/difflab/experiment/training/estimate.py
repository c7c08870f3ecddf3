"""What a job would do, and an estimate of its time on this machine, by timing single steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from difflab.experiment.evaluation.job import Evaluation
from difflab.experiment.machine.hardware import autocast
from difflab.paradigm.base import TRAINING
from difflab.paradigm.power_average import TRACKED
from difflab.sampler.generate import count_nfe, times_for

if TYPE_CHECKING:
    from difflab.experiment.training.job import Training

BATCH = 64  # samples that the network is timed on
FEW = 32  # samples that a CPU tries first
LONG = 0.5  # seconds that they take, after which a CPU tries no more: its pace is that of larger batches


def estimate(evaluations: Sequence[Evaluation], training: Training | None = None) -> dict[str, Any]:
    """What is left to do of a job: images to train on, network evaluations to measure, and the seconds of both."""
    images = training.images_remaining if training else 0
    missing = [each for each in evaluations if each.cached_result is None]
    nfe = sum(each.protocol.n * nfe_of(each) for each in missing)
    run = training.run if training else evaluations[0].run
    return {
        "run": run.folder.name,
        "images to train": images,
        "training seconds": images * training_pace(training) if training and images else 0.0,
        "disk MB": round(disk(training) / 1e6, 1) if training and images else 0.0,
        "to measure": len(missing),
        "cached": len(evaluations) - len(missing),
        "network evaluations": nfe,
        "measuring seconds": nfe * sampling_pace(missing[0]) if missing else 0.0,
    }


def disk(job: Training) -> int:
    """Bytes that the training writes at most: the averaged weights, two checkpoints, and the snapshots."""
    parameters = sum(p.numel() for p in job.model.learned.parameters())
    averages, snapshots = len(job.config["ema"]), int(job.config["snapshots"])
    tracked = len(TRACKED) if snapshots else 0
    state = 4 * (1 + 2 + averages + tracked)  # of a checkpoint: the raw weights and the two moments of Adam as well
    return parameters * (4 * averages + 2 * state + 2 * len(TRACKED) * snapshots)


def nfe_of(evaluation: Evaluation) -> int:
    """The network evaluations of one sample; of an adaptive sampler, which decides that itself, the number given."""
    recipe, guided = evaluation.recipe, evaluation.recipe.guided(evaluation.model.denoiser)
    if recipe.sampler.evaluations is None:
        return recipe.nfe
    return count_nfe(guided, recipe.sampler, times_for(guided, recipe.sampler, recipe.grid, recipe.nfe))


def sampling_pace(evaluation: Evaluation) -> float:
    """Seconds of one network evaluation of one sample."""
    denoiser, precision = evaluation.model.denoiser, evaluation.recipe.precision
    x = torch.zeros(BATCH, *denoiser.shape, device=denoiser.device)
    label = torch.zeros(BATCH, dtype=torch.int64, device=denoiser.device)
    t = torch.tensor(denoiser.schedule.t_max, dtype=torch.float64)

    def evaluate(n: int) -> None:
        with torch.no_grad(), autocast(denoiser.device, precision):
            denoiser(x[:n], t, label[:n])

    return pace(f"sampling {denoiser} {precision}", evaluate, BATCH)


def training_pace(job: Training) -> float:
    """Seconds of training on one image."""
    model, data, rows = job.model.to(job.device), job.data.images.train, slice(job.model.batch_size)
    x, y = job.data.encoded(data, rows).to(job.device), data.y[rows].to(job.device)

    def step(n: int) -> None:
        with autocast(job.device, job.config["precision"]):
            losses = model.loss(model.corrupt(x[:n], y[:n], 0.0, TRAINING, 0)).values()
        torch.autograd.backward(torch.stack([loss.mean() for loss in losses]).sum())
        model.zero_grad()

    return pace(f"training {model} {job.config['precision']}", step, model.batch_size)


PACES: dict[str, float] = {}  # found in this process, by what was tried: the jobs of a sweep try the same


def pace(what: str, action: Callable[[int], None], size: int) -> float:
    """Seconds that an action takes for one of `size` samples; the first trial only warms up, unless it takes LONG."""
    accelerator = torch.accelerator.is_available()
    for n in () if what in PACES else (size if accelerator else min(FEW, size), size):
        start = time.perf_counter()
        action(n)
        if accelerator:
            torch.accelerator.synchronize()
        seconds = time.perf_counter() - start
        PACES[what] = seconds / n
        if not accelerator and seconds > LONG:
            break
    return PACES[what]
