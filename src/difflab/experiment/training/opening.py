"""What a training is about, in lines that are printed before it begins."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from difflab.experiment.machine.processes import several
from difflab.experiment.machine.terminal import duration
from difflab.experiment.training.estimate import estimate
from difflab.experiment.training.longer import remarks
from difflab.experiment.training.network_cost import flops_an_image

if TYPE_CHECKING:
    from difflab.experiment.training.job import Training

TIMED = 200  # steps that a budget has at least whose time is estimated: the estimate takes that of some


def opening_lines(job: Training) -> Iterator[str]:
    """The data, the network, the device, the budget and the folder; then what a user must know of other runs."""
    yield f"data:    {job.data.images.summary}"
    if job.learns and not job.exported:
        yield f"network: {network(job)}"
        yield f"device:  {device(job)}"
        yield f"budget:  {budget(job)}"
    yield f"run:     {job.run.folder}   (Ctrl-C is safe: the same command goes on)"
    if job.learns and not job.exported:
        yield from remarks(job)
    o, images = job.model.optimisation, job.config["images"]
    if (warmup := o.lr_schedule.warmup) > images:  # as a share of the budget it is not
        yield f"lr_schedule.warmup={warmup:_} is longer than images={images:_}: lr={o.lr} is not reached"


def network(job: Training) -> str:
    """What is trained: its class, its size and what an image costs."""
    learned = job.model.learned
    size = sum(p.numel() for p in learned.parameters() if p.requires_grad)
    flops = flops_an_image(copy.deepcopy(job.model), job.fitted) if job.teacher is None else None
    cost = "" if flops is None else f", {flops / 1e6:,.3g} MFLOP an image forwards"
    return f"{type(learned.get_submodule('backbone')).__name__} of {size:,} parameters{cost}"


def device(job: Training) -> str:
    """Where it is trained, and in which precision."""
    kinds = sorted({each.type for each in job.devices})
    processes = f"{len(job.devices)} processes, " if several(job.devices) else ""
    return f"{'+'.join(kinds)}, {processes}{job.config['precision']}"


def budget(job: Training) -> str:
    """How much it trains on, and about how long that takes here, as far as it is worth trying out."""
    images, steps, n = job.config["images"], job.steps, len(job.fitted.training)
    words = f"{images:,} images in {steps:,} steps of {job.config['batch_size']:,}, {images / n:.3g} epochs"
    if (
        several(job.devices)
        or job.config["compile"]
        or job.teacher
        or job.images_remaining < TIMED * job.config["batch_size"]
    ):
        return words
    apart = replace(job, model=copy.deepcopy(job.model))
    found = estimate(job.evaluations, apart)
    measuring = f" and {duration(found['measuring seconds'])} of sampling" if found["measuring seconds"] else ""
    return f"{words}; about {duration(found['training seconds'])} of training{measuring}"
