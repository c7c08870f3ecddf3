"""A study: what was measured, repetitions put together, unlike protocols kept apart, and what it is that varies."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from difflab.experiment.run import Run
from difflab.metric.card import ProtocolCard, digest
from difflab.report.costs import asked
from difflab.report.evaluation import Evaluation
from difflab.report.factors import TELLING, factors, spoken
from difflab.report.statistics import Interval, Seeds, estimate, means


def refuse(error: ValueError) -> None:
    """Let nothing be left out."""
    raise error


def gather(runs: Sequence[Run], unreadable: Callable[[ValueError], None] = refuse) -> list[Evaluation]:
    """All evaluations of the runs; `unreadable` is told of each file that cannot be read, by an error that names it."""
    found = []
    for run in runs:
        paths = sorted((run.folder / "evaluations").glob("*.json"))
        try:
            config = configured(run) if paths else {}
        except ValueError as error:
            unreadable(error)
            continue
        for path in paths:
            try:
                found.append(read(run, config, path))
            except ValueError as error:
                unreadable(error)
    return found


def configured(run: Run) -> dict[str, Any]:
    """The run's configuration. Raises ValueError if it is damaged, or of an older difflab."""
    config = run.config
    if not {"choices", "command"} <= config.keys():
        raise ValueError(f"{run.folder}/config.yaml says no choices: an older difflab wrote it; train it again")
    return config


def read(run: Run, config: Mapping[str, Any], path: Path) -> Evaluation:
    """One evaluation from its file."""
    try:
        found = json.loads(path.read_text())
        parts = (found[key] for key in ("metrics", "cost", "choices", "command"))
        return Evaluation(run, path.stem, config, ProtocolCard(**found["card"]), *parts)
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        why = f"{type(error).__name__}: {error}"
        raise ValueError(
            f"{path} is none of this difflab's evaluations ({why}): remove it, and measure again"
        ) from error


@dataclass(frozen=True)
class Cell:
    """Evaluations alike but for their seeds; `factors` says what of, by the words that users type."""

    factors: Mapping[str, str]
    evaluations: tuple[Evaluation, ...]

    @property
    def nfe(self) -> float:
        """Network evaluations a sample, as asked for; 0 where a tolerance decided, and took more than were asked for.

        `cost["nfe"]` is what was counted.
        """
        nfe = self.evaluations[0].card.nfe
        return nfe if self.cost["nfe"] <= nfe * (1 + 1e-6) else 0.0

    @cached_property
    def protocol(self) -> dict[str, str]:
        """All that must agree before this may be held against another."""
        return self.evaluations[0].protocol

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """What was measured in every evaluation."""
        first, *others = (evaluation.metrics for evaluation in self.evaluations)
        return tuple(key for key in first if all(key in other for other in others))

    @cached_property
    def cost(self) -> dict[str, float]:
        """Means over the evaluations: nfe (counted), seconds, seconds_per_sample, network_share, peak_memory."""
        return means([evaluation.cost for evaluation in self.evaluations])

    @property
    def devices(self) -> set[str]:
        """What the times were taken on."""
        return {str(evaluation.cost.get("device", "unknown")) for evaluation in self.evaluations}

    @property
    def folders(self) -> set[Path]:
        """Where its runs lie."""
        return {evaluation.run.folder for evaluation in self.evaluations}

    @cached_property
    def training(self) -> dict[str, float]:
        """Means over the runs: images_seen, seconds."""
        return means([run.result.get("training", {}) for run in self.runs])

    @property
    def runs(self) -> list[Evaluation]:
        """One evaluation of each run."""
        return list({evaluation.run.folder: evaluation for evaluation in self.evaluations}.values())

    @property
    def commands(self) -> tuple[str, ...]:
        """What reproduces it: the trainings, then the evaluations."""
        trained = [str(run.config["command"]) for run in self.runs]
        return tuple(dict.fromkeys(trained + [evaluation.command for evaluation in self.evaluations]))

    @property
    def label(self) -> str:
        """What it is, in full."""
        return f"{spoken(self.factors, self.factors)} nfe={asked(self.nfe)}"

    def values(self, metric: str) -> dict[Seeds, float]:
        """The metric by the seeds of training and noise.

        Raises ValueError if it was not measured, or if two trainings cannot be told apart.
        """
        if metric not in self.metrics:
            raise ValueError(f"{metric!r} was not measured of {self.label}; there is {', '.join(self.metrics)}")
        found = {evaluation.seeds: evaluation.metrics[metric] for evaluation in self.evaluations}
        if len(found) < len(self.evaluations):
            names = ", ".join(sorted(folder.name for folder in self.folders))
            raise ValueError(
                f"{self.label} was measured more than once with the same seeds, in {names}: "
                "give difflab-report the RUNS that you mean"
            )
        return found

    def estimate(self, metric: str) -> Interval:
        """The mean of a metric and its 95 % interval over seeds. Raises ValueError if it was not measured."""
        return estimate(self.values(metric))


@dataclass(frozen=True)
class Group:
    """Cells measured by one protocol, which may be held against each other."""

    cells: tuple[Cell, ...]
    protocol: Mapping[str, str]
    differing: Mapping[str, str]  # the fields in which the protocols of the study's groups differ, with this one's

    @property
    def metrics(self) -> tuple[str, ...]:
        """What was measured of any cell; what has a real-versus-real floor first."""
        found = tuple(dict.fromkeys(key for cell in self.cells for key in cell.metrics))
        values = [key for key in found if not key.endswith(("_floor", "_se")) and not re.match("n(_|$)", key)]
        return tuple(sorted(values, key=lambda key: f"{key}_floor" not in found))

    def having(self, metric: str) -> list[Cell]:
        """The cells of which a metric was measured."""
        return [cell for cell in self.cells if metric in cell.metrics]

    @property
    def nfes(self) -> tuple[float, ...]:
        """The network evaluations that were asked for, rising; last 0, of what a tolerance decided."""
        return tuple(sorted({cell.nfe for cell in self.cells}, key=lambda nfe: nfe or math.inf))

    def floor(self, metric: str) -> float | None:
        """What real samples score against real ones, where that is known."""
        key = f"{metric}_floor"
        found = [cell.estimate(key).mean for cell in self.cells if key in cell.metrics]
        return fmean(found) if found else None


@dataclass(frozen=True)
class Study:
    """All cells, what varies between them, and which of them may be compared."""

    cells: tuple[Cell, ...]
    varied: tuple[str, ...]  # names of the factors that vary
    groups: tuple[Group, ...]

    @classmethod
    def of(cls, evaluations: Sequence[Evaluation]) -> Study:
        """The study of these evaluations. Raises ValueError if there are none."""
        if not evaluations:
            raise ValueError("no evaluations yet: difflab-evaluate paradigm=ddpm sampler=ddim nfe=20 makes one")
        alike: dict[str, list[Evaluation]] = {}
        for evaluation in evaluations:
            alike.setdefault(evaluation.kind, []).append(evaluation)
        members = [tuple(sorted(each, key=lambda e: e.seeds)) for each in alike.values()]
        named = factors([each[0] for each in members])
        cells = sorted(map(Cell, named, members), key=lambda cell: (*cell.factors.values(), cell.nfe))
        varied = tuple(key for key in named[0] if len({each[key] for each in named}) > 1)
        return cls(tuple(cells), varied, groups(cells))

    @cached_property
    def told(self) -> tuple[str, ...]:
        """The varied factors that tell the cells apart: without those that others imply."""
        kept = [key for key in self.varied if key in TELLING]
        for key in self.varied:
            known = {(tuple(cell.factors[k] for k in kept), cell.factors[key]) for cell in self.cells}
            if key not in kept and len(known) > len({first for first, _ in known}):
                kept.append(key)
        return tuple(key for key in self.varied if key in kept)

    def label(self, cell: Cell) -> str:
        """What a cell is among the others, its number of evaluations apart."""
        return spoken(cell.factors, self.told) or cell.factors["paradigm"]

    def series(self, group: Group) -> dict[str, list[Cell]]:
        """The cells of a group that differ in the number of evaluations alone, by label and in its order."""
        found: dict[str, list[Cell]] = {}
        for cell in sorted(group.cells, key=lambda cell: cell.nfe):
            found.setdefault(self.label(cell), []).append(cell)
        return found


def groups(cells: Sequence[Cell]) -> tuple[Group, ...]:
    """The cells by protocol."""
    alike: dict[str, list[Cell]] = {}
    for cell in cells:
        alike.setdefault(digest(cell.protocol), []).append(cell)
    protocols = [each[0].protocol for each in alike.values()]
    differing = [key for key in protocols[0] if len({protocol[key] for protocol in protocols}) > 1]
    return tuple(
        Group(tuple(each), protocol, {key: protocol[key] for key in differing})
        for each, protocol in zip(alike.values(), protocols, strict=True)
    )
