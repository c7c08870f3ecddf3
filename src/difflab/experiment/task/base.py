"""What `difflab-sample` does with a trained run: one file a task."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from difflab.data.codec import Codec
from difflab.data.labels import in_turn, label_of
from difflab.data.module import DataModule
from difflab.denoiser.base import AnyDenoiser
from difflab.experiment.machine.hardware import autocast
from difflab.experiment.machine.terminal import Bars, bar
from difflab.experiment.model.conditions import Prompts, books, look_up
from difflab.experiment.model.from_run import beside
from difflab.experiment.picture.points import EXTENT
from difflab.experiment.picture.samples import class_names, footer
from difflab.experiment.picture.sheet import Sheet
from difflab.experiment.picture.tile import tiles
from difflab.experiment.sampling.recipe import Recipe
from difflab.experiment.store.facts import facts_of
from difflab.experiment.store.run import Run
from difflab.process.gaussian import scale
from difflab.process.noise import SampleNoise, keyed
from difflab.sampler.generate import Samples, integrate

COARSE = 20  # steps to cut or to look at, where the sampler makes its own


@dataclass(frozen=True)
class Job:
    """A trained run, the recipe to sample it by, and what is asked of it.

    Raises ValueError where there is nothing to do, or for a label that the run does not have.
    """

    run: Run
    denoiser: AnyDenoiser  # as trained, without guidance
    recipe: Recipe
    n: int
    seed: int
    asked: tuple[int, ...]  # the labels of the samples, in turn; empty: all
    batch_size: int
    folder: Path  # to write into
    data: DataModule  # that the run was trained on
    bar: Bars = bar
    prompts: Prompts | None = None  # the classes of this job

    def __post_init__(self) -> None:
        if self.n < 1 or self.batch_size < 1 or self.seed < 0:
            asked = f"n={self.n}, batch_size={self.batch_size}, seed={self.seed}"
            raise ValueError(f"{asked}: n and batch_size must be at least 1, seed at least 0")
        for label in self.asked:
            self.label_of("label", label)

    def label_of(self, key: str, word: object) -> int:
        """The label that a word stands for: the name of a class, or its number. Raises ValueError for another."""
        return label_of(key, word, self.names, self.classes)

    @property
    def classes(self) -> int:
        """The classes that can be drawn, the run's or those of what guides it; 0: it is unconditional."""
        return self.guided.classes

    @property
    def codec(self) -> Codec:
        """How the samples are stored and shown."""
        return self.data.codec

    @cached_property
    def names(self) -> Sequence[str]:
        """The names of the classes; none for an unconditional run.

        They are read from the weights. Weights of earlier versions have none: there they are those of the data, or
        numbers where the data are not at hand.
        """
        if self.prompts:
            return self.prompts.texts
        if self.looks_up:
            return class_names(self.data.images.names, self.classes)
        names = [str(name) for name in facts_of(self.run).get("names", ())]
        if self.classes and not names:
            with suppress(OSError, ValueError, ImportError):
                names = [*self.data.images.names]
        return class_names(names, self.classes)

    @cached_property
    def own(self) -> Job:
        """The job whose labels are those of the data: this one, unless prompts take their place in it."""
        if self.prompts is None:
            return self
        denoiser, guidance = copy.deepcopy((self.denoiser, self.recipe.guidance))
        look_up([denoiser, *beside(*guidance.parts)], self.data, None, {}, self.run.folder.name)
        return replace(self, denoiser=denoiser, recipe=replace(self.recipe, guidance=guidance), prompts=None, asked=())

    def tiles(self, x: Tensor) -> list[Image]:
        """A small picture of each sample that models see, or one of all if they are points."""
        return tiles(self.codec.decode(x), self.codec)

    @property
    def extent(self) -> float | None:
        """The extent of the axes of tiles; None of images, which have no axes."""
        return EXTENT if self.codec.cloud else None

    def footer(self, evaluations: float, *more: str) -> str:
        """How samples were drawn, below their picture; `evaluations` of the network for each."""
        return footer(self.run.folder.name, self.recipe, evaluations, self.seed, *more)

    def compared(self, title: str, rows: Mapping[str, Tensor], columns: int, below: str) -> Sheet:
        """The first `columns` of sets of held-out samples and what became of them, each set a row with its title."""
        known = self.own.labels[:columns].tolist() if self.classes and not self.codec.cloud else []
        names = [self.own.names[k] for k in known]
        every = [self.tiles(x)[:columns] for x in rows.values()]
        return Sheet(every, [names], [*rows], title, below, self.extent)

    def save_samples(self, x: Tensor, labels: Tensor, **others: Tensor) -> None:
        """Write samples.npz, as `save_stored`, of samples as models see them."""
        self.save_stored(self.codec.decode(x), labels, **others)

    def save_stored(self, x: Tensor, labels: Tensor, **others: Tensor) -> None:
        """Write samples.npz: `arr_0`, the samples `(n, ..., C)` as they are stored, as evaluators expect them.

        `labels` are left out if the run is unconditional; `others` are more arrays, written as they are.
        """
        known = {"labels": labels} if self.classes else {}
        arrays = {"arr_0": last(x), **known, **others}
        self.folder.mkdir(parents=True, exist_ok=True)
        plain: dict[str, Any] = {key: value.numpy() for key, value in arrays.items()}
        np.savez_compressed(self.folder / "samples.npz", **plain)

    @cached_property
    def labels(self) -> Tensor:
        """The asked labels in turn, or else all of them, or those of held-out captions; int64 `(n,)`."""
        if self.asked:
            return torch.tensor(self.asked)[torch.arange(self.n) % len(self.asked)]
        return in_turn(self.n, self.classes, self.data.images.test.y if self.looks_up else None)

    @cached_property
    def looks_up(self) -> bool:
        """Whether labels look up more than a class in the data, as captions."""
        return self.prompts is None and any(books(self.denoiser))

    @cached_property
    def guided(self) -> AnyDenoiser:
        """The denoiser as the recipe guides it."""
        return self.recipe.guided(self.denoiser)

    @cached_property
    def times(self) -> Tensor:
        """The falling times of the recipe."""
        return self.recipe.times(self.denoiser)

    @cached_property
    def stops(self) -> Tensor:
        """The falling times, or, where the sampler makes its own, some of the grid: it can stop at any."""
        if self.recipe.sampler.evaluations is not None:
            return self.times
        start, coarse = self.times[:1], self.recipe.grid(self.guided.schedule, COARSE)
        return torch.cat([start, coarse[coarse < start]])

    def noise(self, seed: int) -> Tensor:
        """What samples of a seed start from, `(n, *)`."""
        like = torch.empty(self.n, *self.denoiser.shape)
        return scale(self.guided.schedule(self.times[0]).sigma, SampleNoise(seed, range(self.n))(like, 0))

    def looks(self, x: Tensor, t: Tensor) -> Tensor:
        """Noisy samples at a time, shrunk to where data can be seen: `x / hypot(alpha, sigma)`."""
        return scale(1 / torch.hypot(*self.guided.schedule(t)), x)

    def integrate(
        self, what: str, times: Tensor, x: Tensor | None, labels: Tensor, indices: Sequence[int] | None = None
    ) -> Samples:
        """Run the recipe's sampler along the times, from samples or from noise: see `difflab.sampler.integrate`."""
        with autocast(self.denoiser.device, self.recipe.precision), self.bar(what, len(labels)) as progress:
            return integrate(
                self.guided,
                self.recipe.sampler,
                times,
                x,
                labels,
                indices=indices,
                seed=self.seed,
                batch_size=self.batch_size,
                device=self.denoiser.device,
                progress=progress,
            )

    def held_out(self, seed: int) -> Tensor:
        """Held-out samples `(n, *)` of the labels of `own`, another choice with each seed; as `held_out_rows`."""
        return self.codec.encode(self.data.images.test.x[self.held_out_rows(seed)])

    def held_out_rows(self, seed: int) -> Tensor:
        """The places of held-out samples of the labels of `own`, `(n,)`, another choice with each seed.

        Raises ValueError where there are too few.
        """
        test = self.data.images.test
        order = torch.randperm(len(test), generator=keyed(seed))
        if not (self.classes and self.data.classes):
            if self.n > len(test):
                raise ValueError(f"n={self.n} asks for more than the {len(test)} held-out samples")
            return order[: self.n]
        known = test.y[order]
        rows = torch.empty(self.n, dtype=torch.int64)
        for label in torch.unique(self.own.labels).tolist():
            wanted, those = self.own.labels == label, order[known == label]
            if len(those) < wanted.sum():
                raise ValueError(
                    f"n={self.n} asks for {wanted.sum()} held-out samples with the label "
                    f"{self.own.names[label]}: {len(those)} exist, so give a smaller n= or other labels="
                )
            rows[wanted] = those[: int(wanted.sum())]
        return rows


def last(x: Tensor) -> Tensor:
    """Samples `(n, C, ...)` with their channels last, `(n, ..., C)`."""
    return x.movedim(1, -1)


class Outcome(NamedTuple):
    """What a task made and found."""

    picture: Path
    images: int
    evaluations: float  # of the network, for each image
    measured: dict[str, float]


class Task(Protocol):
    """Something to do with a trained run."""

    n: ClassVar[int]  # images, unless the user says how many

    def require(self, job: Job) -> None:
        """Raise ValueError where the task cannot be done, before anything is."""

    def __call__(self, job: Job) -> Outcome:
        """Do it, and write what comes of it into the job's folder."""
