"""Words of a configuration that take another training: the name of a run, or the words that train it."""

from __future__ import annotations

import os.path
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from difflab.experiment.config.compose import compose, compose_job
from difflab.experiment.config.space import CONTINUOUS, latent_shape
from difflab.experiment.machine.terminal import remark
from difflab.experiment.parts.errors import kept, user_errors
from difflab.experiment.training.fitting import finished
from difflab.experiment.training.job import Training
from difflab.experiment.training.teacher import check_student

PLACES = (
    ("first_stage", "run"),
    ("init",),
    ("teacher", "run"),
    ("protocol", "classifier"),
    ("protocol", "contrastive"),
)
LOADERS = ("difflab.experiment.FromRun", "difflab.experiment.TrainedClassifier")  # whose `run` takes one, too
SHARED = ("runs_dir", "logger", "dry_run")  # settings that such a training takes over

Config = Mapping[str, Any]  # plain values
Place = tuple[str, ...]
Check = Callable[[Config, Config], object]


def with_runs(config: Config, check: Check) -> tuple[Config, Training | None]:
    """The configuration with a run's name in place of words that train one: the run is trained where it is missing.

    In a dry run nothing is trained, and the first training that is missing is returned, too. Before any training
    `check(config, rest)` is called for what does not depend on it: `rest` has no such words, see `without`. Raises
    UserError for what cannot work.
    """
    places = [*words_in(config)]
    if places:
        with user_errors():
            refuse(config, check)
    for place, words in places:
        needed, missing = with_runs(training_of(words, config), check_training)
        if missing:
            return config, missing
        with user_errors():
            training = Training.of(needed)
        if training.run.result is None:
            if config.get("dry_run"):
                return config, training
            remark(f"{'.'.join(place)}: {training.run.folder} is trained first")
        with kept():
            trained, _ = finished(training, requested=False)
        config = replaced(config, place, trained.run.folder.name)
    return config, None


def refuse(config: Config, check: Check) -> None:
    """Raise ValueError, OSError or ImportError for words that cannot work: those of other trainings, and the rest."""
    rest = config
    for place, words in words_in(config):
        other = training_of(words, config)
        refuse(other, check_training)
        if place == ("first_stage", "run") and other["data"]["shape"] != config["data"]["shape"]:
            raise ValueError(
                f"first_stage={words} encodes samples of shape {other['data']['shape']}, and those of data= have "
                f"{config['data']['shape']}: add data={config['choices']['data']} to its words"
            )
        rest = without(rest, place)
    check(config, rest)


def check_training(config: Config, rest: Config) -> None:
    """Build a training without what it needs from others, and see that it could use a teacher."""
    job = Training.of(rest)
    check_student(config, job.model, len(job.devices))


def words_in(config: Config) -> Iterator[tuple[Place, str]]:
    """The places in a configuration that hold words which train a run, rather than a run's name; and the words."""
    for place in (*PLACES, *loaders(config)):
        value = at(config, place)
        if isinstance(value, str) and "=" in value and not os.path.isfile(os.path.join(value, "config.yaml")):
            yield place, value


def loaders(node: object, place: Place = ()) -> Iterator[Place]:
    """The places of the runs that objects in a configuration load."""
    if isinstance(node, Mapping):
        if node.get("_target_") in LOADERS:
            yield (*place, "run")
        for key, value in node.items():
            yield from loaders(value, (*place, str(key)))


def at(node: Any, place: Place) -> object:  # noqa: ANN401  # plain values
    """What a configuration has at a place; None where it has no such place."""
    for key in place:
        node = node.get(key) if isinstance(node, Mapping) else None
    return node


def replaced(node: Config, place: Place, value: object) -> dict[str, Any]:
    """The configuration with another value at a place."""
    key, *rest = place
    return {**node, key: replaced(node[key], tuple(rest), value) if rest else value}


def without(config: Config, place: Place) -> Config:
    """The configuration without the run at a place: no guidance by it, no measuring with it, no such teacher or start.

    A guidance that was cut already stays so.
    """
    if "guidance" in place:
        *outer, group, name = place[: place.index("guidance") + 2]
        guidance = at(config, (*outer, group))
        if not isinstance(guidance, Mapping):  # it went with its teacher
            return config
        return replaced(config, (*outer, group), {key: node for key, node in guidance.items() if key != name})
    if place == ("teacher", "run"):
        return {**config, "teacher": {}}
    if place == ("first_stage", "run"):
        shape = latent_shape(compose, str(at(config, place)), config["runs_dir"], tuple(config["data"]["shape"]))
        latents = {**config["data"], **stand_in(shape)}
        others: dict[str, Any] = {"first_stage": {}, "teacher": {}, "init": None}  # which work in these latents, too
        return {**config, **others, "data": latents, "protocol": {**config["protocol"], "n": 0}}
    if place[:2] == ("protocol", "extractor"):
        return {**config, "protocol": {**config["protocol"], "n": 0, "extractor": None}}
    return replaced(config, place, None)


def stand_in(shape: Sequence[int]) -> dict[str, Any]:
    """Settings of data that have the shape of latents which are still to be made."""
    source = {"_target_": "difflab.data.GaussianArray", "shape": [*shape], "n": 1000, "held_out": 100}
    return {"source": source, "shape": [*shape], "codec": CONTINUOUS, "classes": 0, "flip": False}


def training_of(words: str, config: Config) -> dict[str, Any]:
    """The configuration that the words stand for, with its run where those of `config` lie.

    Raises UserError for words that make no sense.
    """
    shared = {key: config[key] for key in SHARED if config.get(key) is not None}
    with user_errors():
        return {**compose_job("train", shlex.split(words)), **shared}
