"""A longer budget goes on from the state of a shorter run, where that is what training at once would have come to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import torch

from difflab.experiment.parts.identity import BEST, content, flat, stem
from difflab.experiment.store.checkpoint import Checkpoint, newest
from difflab.experiment.store.run import Run
from difflab.paradigm.base import TRAINING, Paradigm
from difflab.process.noise import keyed

BUDGET, RATE = "images", "model.optimisation.lr"  # in the content of a run
LOOKS = 10_000  # steps at most at which the learning rates of two budgets are compared
MAKES_LOSS = ("loss", "corrupt", "training_step")  # methods of a paradigm
SHARES = (0.0, 0.3, 0.7, 1.0)  # of the budget, at which the training times of two batches are compared


class Job(Protocol):
    """A training, as `Training` is one."""

    @property
    def config(self) -> Mapping[str, Any]:
        """Its configuration."""

    @property
    def origins(self) -> Mapping[str, Mapping[str, Any]]:
        """What it is made from."""

    @property
    def run(self) -> Run:
        """Its run."""

    @property
    def model(self) -> Paradigm:
        """What is trained."""

    @property
    def steps(self) -> int:
        """Of its budget."""

    @property
    def complete(self) -> bool:
        """Whether it is done."""


class Kin(NamedTuple):
    """A run of the same settings, but for the budget or the learning rate; and the settings that differ."""

    run: Run
    images: int
    differs: frozenset[str]


def kin(job: Job) -> Iterator[Kin]:
    """The runs beside it that differ from a job in the budget or in the learning rate alone."""
    ours = flat(content(job.config, job.origins))
    for path in sorted(job.run.folder.parent.glob(f"{stem(job.config)}-*/config.yaml")):
        if path.parent == job.run.folder:
            continue
        try:
            config = Run(path.parent).config
            theirs = flat(content(config, config.get("origins", {})))
        except (ValueError, KeyError, TypeError, OSError):  # of another version, or damaged
            continue
        differs = frozenset(k for k in {*ours, *theirs} if ours.get(k) != theirs.get(k))
        if differs and differs <= {BUDGET, RATE}:
            yield Kin(Run(path.parent), config["images"], differs)


def goes_on_from(job: Job) -> Checkpoint | None:
    """The state that a training starts from: its own, or else that of a shorter run; None: it starts anew.

    Raises ValueError as `newest` does.
    """
    return newest(job.run) or (shorter(job) if not job.complete else None)


def shorter(job: Job) -> Checkpoint | None:
    """The latest state of a run with a smaller budget that this training would come to, bit for bit; None without one.

    The learning rate of every step until then, and of the next, must be the same under both budgets, and nothing else
    may follow the share of the budget.
    """
    if job.config["snapshots"] or job.config.get("keep") == BEST or follows_budget(job.model):
        return None
    found = []
    for other in kin(job):
        try:
            state = newest(other.run)
        except ValueError:
            continue
        steps = other.images // job.config["batch_size"]
        if state and other.differs == {BUDGET} and state.step < job.steps and same_rates(job, steps, state.step):
            found.append(replace(state, damaged=None))
    return max(found, key=lambda state: state.step, default=None)


def same_rates(job: Job, steps: int, done: int) -> bool:
    """Whether the learning rates of the first `done` steps, and of the next, are those of a budget of `steps`."""
    looked = {*range(0, done + 1, max(1, done // LOOKS)), done}
    factor, size = job.model.optimisation.factor, job.config["batch_size"]
    return all(factor(step, steps, size) == factor(step, job.steps, size) for step in looked)


def follows_budget(model: Paradigm) -> bool:
    """Whether the loss, or the law of the training times, depends on the share of the budget that is over.

    Of a class that overrides what makes the loss and states no `follows_budget` of its own it is not known: True.
    """
    known = next(vars(cls) for cls in type(model).__mro__ if {"follows_budget", *MAKES_LOSS} & vars(cls).keys())
    if known.get("follows_budget", True):
        return True
    first, *others = ([*model.draw_times(64, keyed(0), share, TRAINING, 0)] for share in SHARES)
    return any(not torch.equal(a, b) for other in others for a, b in zip(first, other, strict=True))


def remarks(job: Job) -> Iterator[str]:
    """What a user must know of runs like a job that is about to start: which state is used, or why none is."""
    if newest(job.run):
        return
    state = shorter(job)
    if state:
        run, size = state.path.parents[1].name, job.config["batch_size"]
        yield f"{run} is this training up to {state.step * size:,} images: its state is taken, as if uninterrupted"
        return
    for other in kin(job):
        what = "the budget" if other.differs == {BUDGET} else "the learning rate" if BUDGET not in other.differs else ""
        why = " (its course of the learning rate, or its loss, follows the budget)" if other.differs == {BUDGET} else ""
        name = other.run.folder.name
        if what:
            yield (
                f"{name} differs in {what} alone, and this is another run, from the start{why}: init={name} starts "
                f"from its averaged weights, with a new warm-up"
            )
            return
