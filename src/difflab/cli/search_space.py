"""A space of jobs: a command line in which some words leave a choice, in Hydra's grammar."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException

from difflab.cli.explain import explanation
from difflab.cli.multirun import COUNTS
from difflab.experiment.config.compose import as_plain, composed, loader
from difflab.experiment.parts.build import target

try:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
        distribution_to_json,
    )
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("a search takes an extra: pip install 'difflab[search]'") from error

Dimension = CategoricalDistribution | FloatDistribution | IntDistribution

Point = Mapping[str, Any]  # a value for each dimension
PROGRAM = "difflab-evaluate"  # which does a point alone
DIGITS = 6  # of a number between two others, as printed and as trained with


@dataclass(frozen=True)
class Space:
    """The words that are fixed, those that leave a choice, and what these choose from, by key."""

    fixed: Sequence[str]
    typed: Sequence[str]
    dimensions: Mapping[str, Dimension]

    @classmethod
    def of(cls, words: Sequence[str]) -> Space:
        """The space that words of training leave open. Raises ValueError if they leave nothing, or make no sense."""
        parser = OverridesParser.create(loader())  # it knows the options of glob(*)
        try:
            parsed = parser.parse_overrides([*words])
        except HydraException as error:
            raise ValueError(str(error).splitlines()[0]) from error
        sweeps = sorted((o for o in parsed if o.is_sweep_override()), key=Override.get_key_element)
        dimensions = {o.get_key_element(): dimension(o) for o in sweeps}
        if not dimensions:
            raise ValueError("nothing to search: leave a choice, as in sampler=ddim,heun nfe=range(4,65)")
        fixed = [str(o.input_line) for o in parsed if not o.is_sweep_override()]
        return cls(fixed, [str(o.input_line) for o in sweeps], dimensions)

    @property
    def identity(self) -> object:
        """What two spaces of the same points share, however they are typed; plain values."""
        return sorted(self.fixed), {key: distribution_to_json(each) for key, each in self.dimensions.items()}

    @cached_property
    def runs_dir(self) -> Path:
        """Where the runs lie."""
        return Path(self.configuration(next(self.corners))["runs_dir"])

    @cached_property
    def values(self) -> Mapping[str, Sequence[Any]] | None:
        """All values of each dimension; None where one of them takes any number."""
        found = {key: values(each) for key, each in self.dimensions.items()}
        return None if None in found.values() else {key: each for key, each in found.items() if each is not None}

    @property
    def size(self) -> float:
        """How many points there are; infinity where a dimension takes any number."""
        return math.inf if self.values is None else math.prod(map(len, self.values.values()))

    @property
    def corners(self) -> Iterator[Point]:
        """Points in which every option occurs: the first of each dimension, and every other in its place."""
        options = {key: (each.low,) if hasattr(each, "low") else each.choices for key, each in self.dimensions.items()}
        first = {key: values[0] for key, values in options.items()}
        yield first
        for key, values in options.items():
            yield from ({**first, key: value} for value in values[1:])

    def dry_run(self, metric: str) -> None:
        """See that every option composes and is measured by the metric. Raises ValueError, naming the valid choices."""
        for point in self.corners:
            config = self.configuration(point)
            valid = scores(config)
            if metric not in valid:
                where = " ".join(chosen(point))
                raise ValueError(f"metric={metric} is not measured with {where}; valid: {', '.join(valid) or 'none'}")

    def configuration(self, point: Point) -> dict[str, Any]:
        """The configuration of the command that does a point. Raises ValueError if there is no such thing."""
        words = self.words(point)
        try:
            whole = composed("train", words)
            if whole.hydra.sweeper.get("params"):
                raise ValueError("this experiment is a sweep of its own, for difflab-evaluate: leave it out")
            return {**as_plain("train", words, whole), "command": shlex.join(self.command(point))}
        except ValueError as error:
            raise ValueError(explanation("train", words) or str(error)) from error

    def words(self, point: Point) -> list[str]:
        """The words of the job that does a point."""
        return [*self.fixed, *chosen(point)]

    def command(self, point: Point) -> list[str]:
        """The command of a point."""
        return [PROGRAM, *self.words(point)]

    def measure(self, point: Point, study: str) -> list[dict[str, Any]]:
        """Do a point as its own command does, under a study's name; return the result of each seed of the noise.

        Its `run` and its `protocol` beside it.
        """
        from difflab.experiment.jobs import train
        from difflab.metric.card import ProtocolCard

        config = self.configuration(point)
        named = any(word.startswith("study=") for word in self.fixed)
        found = train(config if named else {**config, "study": study}, "evaluate")
        assert found is not None  # a search is one process
        counts = {key: found[key] for key in ("run", *COUNTS)}
        protocol = {"protocol": ProtocolCard(**found["card"]).protocol}
        return [{**counts, **evaluation, **protocol} for evaluation in found["evaluations"]]


def scores(config: Mapping[str, Any]) -> list[str]:
    """The scores that a configuration measures, as far as its words tell; of a score left out for NaN, too."""
    from difflab.paradigm.diffusion import Diffusion

    protocol, model = config["protocol"], target(config["model"]["_target_"])
    if not protocol["n"] or not issubclass(model, Diffusion):
        return []
    extractor: Any = target(protocol["extractor"]["_target_"])
    distances = [name for score in extractor.scores for name in score.names]
    against = [f"{name}_vs_{split}" for split in protocol["references"][1:] for name in distances]
    judged = ["is_classifier", "class_accuracy"] if protocol["classifier"] else []
    flow = protocol.get("flow_likelihood", True)
    likelihood = [score for score in model.scores if protocol["n_likelihood"] and (flow or score != "bits_per_dim")]
    of_texts = ["text_alignment", "text_retrieval"] if protocol.get("contrastive") else []
    return [*distances, *against, *judged, *of_texts, "copies", "nn_gap", *likelihood]


def chosen(point: Point) -> list[str]:
    """The words by which points differ."""
    return [f"{key}={rounded(value)}" for key, value in sorted(point.items())]


def rounded(value: str | float) -> str | float:
    """A value as it is printed."""
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def values(each: Dimension) -> Sequence[Any] | None:
    """The values of a dimension, those that are printed alike once; None if it takes any number."""
    match each:
        case CategoricalDistribution(choices=choices):
            return choices
        case IntDistribution(low=low, high=high, step=step):
            return range(low, high + 1, step)
        case FloatDistribution(low=low, high=high, step=float(step)):
            steps = round((high - low) / step)
            return [*{rounded(value): value for value in (low + k * step for k in range(steps + 1))}.values()]
    return None


def dimension(override: Override) -> Dimension:
    """The values that a word chooses from: what it lists, or numbers in steps, or all between two.

    As Hydra says, the end of a range or an interval is not in it. Raises ValueError if there is nothing to choose from.
    """
    value = override.value()
    try:
        match value:
            case RangeSweep():
                steps, log = value.range(), "log" in value.tags
                if not (every := [*steps]):
                    raise ValueError("an empty range")
                if isinstance(steps, range):
                    return IntDistribution(min(every), max(every), log, abs(steps.step))
                return FloatDistribution(min(every), max(every), log, abs(value.step))
            case IntervalSweep(start=float(start), end=float(end)) if "int" not in value.tags:
                return FloatDistribution(start, end, "log" in value.tags)
            case IntervalSweep(start=int() | float() as start, end=int() | float() as end):
                return IntDistribution(math.ceil(start), math.ceil(end) - 1, "log" in value.tags)
    except ValueError as error:
        raise ValueError(f"{override.input_line}: {error}") from error
    return CategoricalDistribution(sorted(set(override.sweep_string_iterator())))
