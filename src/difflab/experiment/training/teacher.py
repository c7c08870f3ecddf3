"""A teacher: a trained flow whose pairs of noise and samples a student is trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from difflab.data.labels import in_turn
from difflab.data.latents import space_name
from difflab.data.module import DataModule
from difflab.data.pairs import held_out, save_pairs
from difflab.denoiser.base import AnyDenoiser
from difflab.experiment.config.files import read
from difflab.experiment.machine.lock import locked
from difflab.experiment.machine.terminal import bar
from difflab.experiment.model.conditions import books
from difflab.experiment.parts.identity import identity
from difflab.experiment.sampling.recipe import Trained, trained
from difflab.experiment.store.files import atomic
from difflab.experiment.store.run import Run, find
from difflab.experiment.store.weights import kept_of, load_denoiser, weights_identity
from difflab.experiment.training.batches import check_held_out
from difflab.metric.card import digest
from difflab.paradigm.base import Paradigm
from difflab.process.noise import VERSION, SampleNoise, keyed

PAIRS = 3  # a stream of seeds that no command measures by: students are not measured with the noise of their pairs


@dataclass(frozen=True)
class Teacher:
    """A trained flow, the recipe that its pairs `(eps, x)` are drawn by, their number and the seed of their noise.

    `x` is the end of the flow from `eps`. Liu et al. 2023 (arXiv:2209.03003), Algorithm 1.
    """

    trained: Trained
    ema: float | None
    n: int
    seed: int
    starts: bool  # whether the student starts from the teacher's weights

    @classmethod
    def of(cls, config: Mapping[str, Any], student: Paradigm, data: DataModule, devices: int) -> Teacher | None:
        """The teacher that draws pairs for a student, which is measured on `data`; None where there is none.

        A student that follows the flow of its teacher takes no pairs.

        Raises ValueError as `check_student` and `check` do.
        """
        check_student(config, student, devices)
        words = config.get("teacher") or {}
        if not words.get("run"):
            return None
        if not (student.couples or student.needs_pairs):
            run = find(Path(config["runs_dir"]), words["run"], "teacher")
            check_fit(run, load_denoiser(run, words["ema"])[0], student, data)
            return None
        found = trained({**words, "runs_dir": config["runs_dir"], "precision": None}, "teacher")
        teacher = cls(found, words["ema"], words["pairs"], config["seed"], words["starts"])
        teacher.check(student, data)
        return teacher

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides the pairs: the weights by their content, the recipe, the number, the seed."""
        recipe = self.trained.recipe
        how = {key: identity(getattr(recipe, key)) for key in ("sampler", "grid", "path", "nfe")}
        how["guidance"] = identity(recipe.chain)
        weights = weights_identity(self.trained.run, self.ema)
        made = {"sha256": weights["weights"], "ema": weights["ema"], **how}
        return {**made, "precision": recipe.precision, "pairs": self.n, "seed": self.seed, "noise": VERSION}

    @property
    def origin(self) -> dict[str, Any]:
        """The same, with what a run keeps of it for people and reports."""
        return {**self.identity, **kept_of(self.trained.run)}

    def check(self, student: Paradigm, data: DataModule) -> None:
        """Raise ValueError unless such pairs can be drawn, and the student can be trained on them.

        That is: the teacher is a flow with a network, was trained on the student's data, and its sampler draws no noise
        on the way.
        """
        guided = self.trained.recipe.guided(self.trained.denoiser)
        check_fit(self.trained.run, guided, student, data)

        def refuse(like: Tensor) -> Tensor:
            raise ValueError(
                f"{self.trained.recipe.sampler} draws noise on the way: pairs need the flow alone, "
                f"as sampler=euler, heun, ddim or adaptive follows it"
            )

        self.trained.recipe.dry_run(self.trained.denoiser, refuse, steps=None)

    @property
    def evaluations(self) -> int | None:
        """Network evaluations that the pairs may take; None by a solver that chooses its steps."""
        return self.n * self.trained.recipe.nfe or None

    @cached_property
    def pairs(self) -> Path:
        """The file of the pairs, drawn where it is missing: `x`, `eps: (n, *)` float32 and `y: (n,)` int64."""
        path = self.trained.run.folder / "pairs" / f"{digest(self.identity)}.safetensors"
        with locked(path, f"{path} is being drawn"):
            if not path.exists():
                denoiser, recipe = self.trained.denoiser, self.trained.recipe
                seed = keyed(PAIRS, self.seed).initial_seed()
                looked_up = self.trained.data.images.train.y if any(books(denoiser)) else None
                y = in_turn(self.n, recipe.guided(denoiser).classes, looked_up)
                with bar("pairs", self.n) as progress:
                    x = recipe.draw(denoiser, y, seed, progress=progress).x
                with atomic(path) as unfinished:
                    save_pairs(unfinished, x, SampleNoise(seed, range(self.n))(x, 0), y)
        return path


def check_fit(run: Run, teacher: AnyDenoiser, student: Paradigm, data: DataModule) -> None:
    """Raise ValueError unless a teacher has a network, makes the student's samples and was trained on its data."""
    name, shape, classes = run.folder.name, student.learned.shape, student.learned.classes
    if teacher.shape != shape or classes not in (0, teacher.classes):
        raise ValueError(
            f"teacher={name} makes samples of shape {list(teacher.shape)} and {teacher.classes} classes, this model "
            f"takes {list(shape)} and {classes}: choose the data that it was trained on"
        )
    known = run.config.get("origins", {}).get("data", {}).get("images")
    if known not in (None, data.images.train.labelled_sha256):
        raise ValueError(
            f"teacher={name} was trained on other images than data= gives, by their sha256: choose the data of "
            f"the teacher"
        )
    stage = run.config.get("origins", {}).get("first_stage")
    if (theirs := space_name(shape, stage) if stage else "") != data.codec.space:
        raise ValueError(
            f"teacher={name} works in {theirs or 'the space of the data'}, and this model in "
            f"{data.codec.space or 'the space of the data'}: choose the same first_stage"
        )
    if not [*teacher.parameters()]:
        raise ValueError(f"teacher={name} has no network: choose a trained rectified_flow, flow_matching or ot_flow")


def check_student(config: Mapping[str, Any], student: Paradigm, devices: int) -> None:
    """Raise ValueError for a student without the teacher that it needs, or with one that it has no use for.

    Raise it also for pairs that would not fill a batch, of which one of as many processes as `devices` would validate
    on none, and for settings of a teacher that are not used.
    """
    words, start = config.get("teacher") or {}, config["init"]
    if not words.get("run"):
        if given := changed(words):
            raise ValueError(f"{' '.join(given)}: there is no teacher; add teacher=RUN, or leave out teacher.*")
        needs_pairs = student.needs_pairs and not config["data"].get("pairs")
        needs_start = student.starts_trained and start in (None, "none")
        if words and (needs_pairs or needs_start or student.follows_teacher):  # none while it is still to be trained
            raise ValueError(
                f"paradigm={config['choices']['paradigm']} learns from a trained flow: add teacher=RUN, or the words "
                f"that train one, as 'teacher=\"paradigm=rectified_flow\"'"
            )
        return
    if words["starts"] is None:
        raise ValueError(
            f"teacher={words['run']}: {type(student).__name__} has no use for a teacher; choose "
            f"paradigm=rectified_flow, flow_matching or ot_flow, which are trained on its pairs, or a distillation"
        )
    if student.starts_trained and start:
        raise ValueError(
            f"init={start}: this paradigm learns from the weights that it starts from, which are those of "
            f"teacher={words['run']}; leave out one of the two"
        )
    if not (student.couples or student.needs_pairs):
        used = ("run", "ema", "guidance") if student.follows_teacher else ("run", "ema")
        if given := [each for each in changed(words) if each.split(".")[1] not in used]:
            raise ValueError(
                f"{' '.join(given)}: no pairs are drawn from this teacher, of which {', '.join(used)} are used; leave "
                f"out these settings"
            )
        return
    if pairs := config["data"].get("pairs"):
        raise ValueError(f"data.pairs={pairs}: a teacher draws the pairs; leave out one of the two")
    n, batch = words["pairs"], config["batch_size"]
    if not (last := held_out(n)):
        raise ValueError(f"teacher.pairs={n}: at least 10 are needed, for the last tenth is held out")
    if n - last < batch:
        raise ValueError(f"teacher.pairs={n}: nine tenths of them are trained on, and must fill a batch of {batch}")
    check_held_out(last, f"{last} held-out pairs, of teacher.pairs={n},", batch, devices)


def changed(words: Mapping[str, Any]) -> list[str]:
    """The settings of a teacher, as `teacher.nfe`, that differ from the defaults; `starts` is the paradigm's."""
    defaults = {setting.key: yaml.safe_load(setting.value) for setting in read("train").settings}
    settings = {f"teacher.{key}": value for key, value in words.items() if key != "starts"}
    return [key for key, value in settings.items() if value != defaults.get(key)]
