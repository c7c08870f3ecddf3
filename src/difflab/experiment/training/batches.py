"""Whether a budget, its batches, the data and the processes fit together; checked before any work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from difflab.data.module import DataModule
from difflab.data.order import Order, share
from difflab.paradigm.base import Paradigm
from difflab.paradigm.batch import place


def check_batches(config: Mapping[str, Any], model: Paradigm, data: DataModule, devices: int, pairs: bool) -> None:
    """Noise a batch of a training as its first step does. Raises ValueError for sizes that do not fit.

    A budget must have a batch for each of its rounds, and each of as many processes as `devices` a part of every
    batch, held-out ones too. A training on a teacher's `pairs` draws them from a set that is still to be made, of which
    `check_student` knows the number.
    """
    images, batch = config["images"], config["batch_size"]
    if (steps := images // batch) < 1:
        raise ValueError(f"images={images} is less than one batch of batch_size={batch}")
    if steps < model.rounds:
        raise ValueError(
            f"images={images} in batches of batch_size={batch} are too few for {model.rounds} rounds, "
            f"each of which needs one: give images={model.rounds * batch} or more, a smaller batch_size, or fewer "
            f"steps.rounds"
        )
    if not pairs:
        check_held_out(n := len(data.held_out), f"{n} held-out samples", batch, devices)
    training = data.images.train if pairs else data.training
    if any(p.requires_grad for p in model.learned.parameters()) and not pairs:
        Order(len(training), batch)  # which refuses a batch larger than the set
    rows = slice(batch // place()[1])
    model.corrupt(data.like(training, rows), training.y[rows], 0.0, 0, 0)


def check_held_out(n: int, what: str, batch: int, devices: int) -> None:
    """Raise ValueError unless each of as many processes has a part of every batch, and of `n` held-out samples."""
    world = max(devices, place()[1])
    size = share(batch, world)  # which refuses what cannot be shared
    if n <= (world - 1) * size:
        raise ValueError(
            f"{what} leave one of {world} processes without any: give a batch_size of "
            f"{(n - 1) // (world - 1) * world} or less, or fewer processes"
        )
