"""Whether a budget, its batches, the data and the processes fit together; checked before any work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from difflab.data.order import Order, share
from difflab.paradigm.batch import place

if TYPE_CHECKING:
    from difflab.experiment.training import Training


def check_batches(job: Training) -> None:
    """Noise a batch of a training as its first step does. Raises ValueError for sizes that do not fit.

    A budget must have a batch for each of its rounds, and each process a part of every batch, held-out ones too.
    """
    images, batch, data, rounds = job.config["images"], job.config["batch_size"], job.data, job.model.rounds
    if images < batch:
        raise ValueError(f"images={images} is less than one batch of batch_size={batch}")
    if job.steps < rounds:
        raise ValueError(
            f"images={images} has {job.steps} steps of batch_size={batch}, and each of {rounds} rounds needs one: give "
            f"images={rounds * batch} or more, or a smaller batch_size or steps.rounds"
        )
    world = max(len(job.devices), place()[1])
    size = share(batch, world)  # which refuses what cannot be shared
    if (n := len(data.images.test)) <= (world - 1) * size:
        raise ValueError(
            f"{n} held-out samples leave one of {world} processes without any: give a batch_size of "
            f"{(n - 1) // (world - 1) * world} or less, or fewer processes"
        )
    training = data.images.train if job.teacher else data.training
    if job.learns and not job.teacher:
        Order(len(training), batch)  # which refuses a batch larger than the set
    rows = slice(batch // place()[1])
    job.model.corrupt(data.like(training, rows), training.y[rows], 0.0, 0, 0)
