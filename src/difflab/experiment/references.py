"""Words of a configuration that take another training: the name of a run, or the words that train it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from difflab.experiment.config import compose

PLACES = (("init",), ("teacher", "run"), ("protocol", "classifier"))
LOADERS = ("difflab.experiment.FromRun", "difflab.experiment.TrainedClassifier")  # whose `run` takes one, too
SHARED = ("runs_dir", "logger", "dry_run")  # settings that such a training takes over

Place = tuple[str, ...]


def words_in(config: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
    """The places in a configuration that hold words which train a run, rather than a run's name; and the words."""
    for place in (*PLACES, *loaders(config)):
        value = at(config, place)
        if isinstance(value, str) and "=" in value and not (Path(value) / "config.yaml").is_file():
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


def replaced(node: Mapping[str, Any], place: Place, value: object) -> dict[str, Any]:
    """The configuration with another value at a place."""
    key, *rest = place
    return {**node, key: replaced(node[key], tuple(rest), value) if rest else value}


def training_of(words: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration that the words stand for, with its run where those of `config` lie.

    Raises ValueError for words that make no sense.
    """
    return {**compose("train", shlex.split(words)), **{key: config[key] for key in SHARED if key in config}}
