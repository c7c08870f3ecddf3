"""A study: evaluations as cells, with repetitions in one cell, unlike protocols apart, and the factors that vary."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean

from difflab.experiment.errors import suggestion
from difflab.experiment.run import Run, find
from difflab.metric.card import digest
from difflab.metric.direction import possible
from difflab.report.factors import ALWAYS_NAMED, SAMPLED, factor_label, factors_of
from difflab.report.floor import Floor, floor_of
from difflab.report.record import Record, read_records, refuse
from difflab.report.statistics import Interval, Seeds, by_repetition, means, summary
from difflab.report.text import nfe_text


@dataclass(frozen=True)
class Cell:
    """Records that differ in their seeds alone. `factors` names what they are of, in the words that users type."""

    factors: Mapping[str, str]
    records: tuple[Record, ...]

    @property
    def nfe(self) -> float:
        """The NFE that the evaluations were limited to; 0 if an adaptive sampler took more than its limit.

        `cost["nfe"]` is the NFE that was counted.
        """
        nfe = self.records[0].card.nfe
        return nfe if self.cost["nfe"] <= nfe * (1 + 1e-6) else 0.0

    @cached_property
    def protocol(self) -> dict[str, str]:
        """All that must agree before two cells are compared."""
        return self.records[0].protocol

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that all records have."""
        first, *others = (record.metrics for record in self.records)
        return tuple(key for key in first if all(key in other for other in others))

    @cached_property
    def cost(self) -> dict[str, float]:
        """Means over the records: nfe (counted), seconds, seconds_per_sample, network_share, peak_memory."""
        return means([record.cost for record in self.records])

    @property
    def devices(self) -> set[str]:
        """The devices that the times were measured on."""
        return {str(record.cost.get("device", "unknown")) for record in self.records}

    @property
    def folders(self) -> set[Path]:
        """The folders of its runs."""
        return {record.run.folder for record in self.records}

    @cached_property
    def training(self) -> dict[str, float]:
        """Means over the runs: images_seen, evaluations, seconds; `_before`: of the runs that they are made from."""
        return means([run.result.get("training", {}) for run in self.runs])

    @property
    def runs(self) -> list[Record]:
        """One record of each run."""
        return list({record.run.folder: record for record in self.records}.values())

    @property
    def commands(self) -> tuple[str, ...]:
        """The commands that reproduce it: the trainings, then the evaluations."""
        trained = [str(run.config["command"]) for run in self.runs]
        return tuple(dict.fromkeys(trained + [record.command for record in self.records]))

    @property
    def label(self) -> str:
        """All its factors and its NFE."""
        return f"{factor_label(self.factors, self.factors)} nfe={nfe_text(self.nfe)}"

    def values(self, metric: str) -> dict[Seeds, float]:
        """The metric by the seeds of training and noise.

        Raises ValueError if it was not measured, or if two records have the same seeds.
        """
        if metric not in self.metrics:
            raise ValueError(f"{metric!r} was not measured of {self.label}; valid: {', '.join(self.metrics)}")
        values = {record.seeds: record.metrics[metric] for record in self.records}
        if len(values) < len(self.records):
            names = ", ".join(sorted(folder.name for folder in self.folders))
            raise ValueError(
                f"{self.label} was measured more than once with the same seeds, in {names}: "
                "give difflab-report the RUNS that you mean"
            )
        return values

    def estimate(self, metric: str, without: Collection[tuple[int, ...]] = ()) -> Interval:
        """The mean of a metric and its 95 % interval over seeds, within the range of possible values.

        Of two seeds both values are given. `without` are seeds that are left out. Raises ValueError if not measured.
        """
        by_seed, over = by_repetition(self.values(metric))
        kept = [value for seed, value in by_seed.items() if not any(seed[-len(each) :] == each for each in without)]
        found = summary(kept, over, *possible(metric))  # and the error by the held-out samples, which cells share:
        errors = [each.metrics[f"{metric}_se"] for each in self.records if f"{metric}_se" in each.metrics]
        return found if found.pair or not errors else found.widened(fmean(errors)).within(*possible(metric))


@dataclass(frozen=True)
class Group:
    """Cells of one protocol, which may be compared."""

    cells: tuple[Cell, ...]
    protocol: Mapping[str, str]
    differing: Mapping[str, str]  # the fields in which the protocols of the study's groups differ, with this one's

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that any cell has, those with a real-versus-real floor first."""
        keys = tuple(dict.fromkeys(key for cell in self.cells for key in cell.metrics))
        values = [key for key in keys if not key.endswith(("_floor", "_se")) and not re.match("n(_|$)", key)]
        return tuple(sorted(values, key=lambda key: f"{key}_floor" not in keys))

    @property
    def devices(self) -> set[str]:
        """The devices that the times were measured on."""
        return {device for cell in self.cells for device in cell.devices}

    def with_metric(self, metric: str) -> list[Cell]:
        """The cells that have a metric."""
        return [cell for cell in self.cells if metric in cell.metrics]

    @property
    def nfes(self) -> tuple[float, ...]:
        """The NFE of the cells, rising; 0, of adaptive samplers, comes last."""
        return tuple(sorted({cell.nfe for cell in self.cells}, key=lambda nfe: nfe or math.inf))

    @property
    def records(self) -> list[Record]:
        """The evaluations of its cells."""
        return [record for cell in self.cells for record in cell.records]

    def floor(self, metric: str) -> Floor | None:
        """The score of real samples against real ones, or why there is none; None for what has no floor."""
        return floor_of(self.records, metric)

    def notes(self, metric: str) -> list[str]:
        """Where samples are too few for a score, and how many were compared; what its floor is of stands with that."""
        notes = (note for record in self.records for note in record.notes.get(metric, "").split("; "))
        return [note for note in dict.fromkeys(notes) if note and not note.startswith(("floor", "no floor"))]


@dataclass(frozen=True)
class Study:
    """All cells, the factors that vary between them, and the groups that may be compared."""

    cells: tuple[Cell, ...]
    varied: tuple[str, ...]  # names of the factors that vary
    groups: tuple[Group, ...]

    @classmethod
    def of(cls, records: Sequence[Record]) -> Study:
        """The study of these records. Raises ValueError if there are none."""
        if not records:
            raise ValueError("no evaluations yet: difflab-evaluate paradigm=ddpm sampler=ddim nfe=20 makes one")
        alike: dict[str, list[Record]] = {}
        for record in records:
            alike.setdefault(record.cell, []).append(record)
        members = [tuple(sorted(each, key=lambda record: record.seeds)) for each in alike.values()]
        named = factors_of([each[0] for each in members])
        cells = sorted(map(Cell, named, members), key=lambda cell: (*cell.factors.values(), cell.nfe))
        varied = tuple(key for key in named[0] if len({each[key] for each in named}) > 1)
        return cls(tuple(cells), varied, groups_of(cells))

    @cached_property
    def distinguishing(self) -> tuple[str, ...]:
        """The varied factors that distinguish the cells: without those that the others imply."""
        kept = [key for key in self.varied if key in ALWAYS_NAMED]
        for key in self.varied:
            pairs = {(tuple(cell.factors[k] for k in kept), cell.factors[key]) for cell in self.cells}
            if key not in kept and len(pairs) > len({first for first, _ in pairs}):
                kept.append(key)
        return tuple(key for key in self.varied if key in kept)

    def label(self, cell: Cell) -> str:
        """The distinguishing factors of a cell, without its NFE."""
        return factor_label(cell.factors, self.distinguishing) or cell.factors["paradigm"]

    def training_label(self, cell: Cell) -> str:
        """The distinguishing factors of a cell's training."""
        keys = [key for key in self.distinguishing if key not in SAMPLED]
        return factor_label(cell.factors, keys) or cell.factors["paradigm"]

    def sampling_label(self, cell: Cell) -> str:
        """The distinguishing factors of a cell's sampling; empty if there are none."""
        return factor_label(cell.factors, [key for key in self.distinguishing if key in SAMPLED])

    def trainings(self) -> dict[str, list[Record]]:
        """One record of each run, by the label of its training."""
        runs: dict[str, dict[Path, Record]] = {}
        for cell in self.cells:
            runs.setdefault(self.training_label(cell), {}).update({run.run.folder: run for run in cell.runs})
        return {label: list(each.values()) for label, each in runs.items()}

    def series(self, group: Group) -> dict[str, list[Cell]]:
        """The cells of a group that differ in the NFE alone, by label, at rising NFE."""
        series: dict[str, list[Cell]] = {}
        for cell in sorted(group.cells, key=lambda cell: cell.nfe):
            series.setdefault(self.label(cell), []).append(cell)
        return series


def groups_of(cells: Sequence[Cell]) -> tuple[Group, ...]:
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


def load_study(runs_dir: Path = Path("runs"), names: Sequence[str] = (), metric: str | None = None) -> Study:
    """The study of the named runs; without names, of all runs in `runs_dir` whose files can be read.

    Raises ValueError for a name without a run, a file of a named run that cannot be read, a metric that was not
    measured, and if there is no evaluation.
    """
    everything = [Run(path.parent) for path in sorted(runs_dir.glob("*/config.yaml"))]
    runs = list(dict.fromkeys(find(runs_dir, name) for name in names)) if names else everything
    study = Study.of(read_records(runs, refuse if names else skip))
    valid = list(dict.fromkeys(key for group in study.groups for key in group.metrics))
    if metric is not None and metric not in valid:
        raise ValueError(f"--metric {metric} was not measured; {suggestion(metric, valid)}")
    return study


def skip(error: ValueError) -> None:
    """Print which file is left out, and why."""
    print(f"difflab-report: left out: {error}", file=sys.stderr)
