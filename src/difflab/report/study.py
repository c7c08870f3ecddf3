"""A study: evaluations as cells, with repetitions in one cell, unlike protocols apart, and the factors that vary."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from difflab.experiment.parts.errors import printable, suggestion
from difflab.experiment.store.run import Run, find
from difflab.report.cell import Cell
from difflab.report.factors import ALWAYS_NAMED, factor_label, factors_of
from difflab.report.group import Group, groups_of
from difflab.report.record import Record, read_records, refuse
from difflab.report.words import is_sampled


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

    @property
    def name(self) -> str:
        """The name that all evaluations or all trainings were given as `study`, or their experiment; else empty."""
        names = {record.study for cell in self.cells for record in cell.records}
        return names.pop() if len(names) == 1 else ""

    @cached_property
    def distinguishing(self) -> tuple[str, ...]:
        """The varied factors that distinguish the cells: without those that the others imply.

        A factor of the training is implied by others of the training alone, so that these name each training.
        """
        kept = [key for key in self.varied if key in ALWAYS_NAMED]
        for key in self.varied:
            others = kept if is_sampled(key) else [k for k in kept if not is_sampled(k)]
            pairs = {(tuple(cell.factors[k] for k in others), cell.factors[key]) for cell in self.cells}
            if key not in kept and len(pairs) > len({first for first, _ in pairs}):
                kept.append(key)
        return tuple(key for key in self.varied if key in kept)

    def label(self, cell: Cell) -> str:
        """The distinguishing factors of a cell, without its NFE."""
        return factor_label(cell.factors, self.distinguishing) or factor_label(cell.factors, ["paradigm"])

    def training_label(self, cell: Cell) -> str:
        """The distinguishing factors of a cell's training."""
        keys = [key for key in self.distinguishing if not is_sampled(key)]
        return factor_label(cell.factors, keys) or factor_label(cell.factors, ["paradigm"])

    def sampling_label(self, cell: Cell) -> str:
        """The distinguishing factors of a cell's sampling; empty if there are none."""
        return factor_label(cell.factors, [key for key in self.distinguishing if is_sampled(key)])

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
    print(printable(f"difflab-report: left out: {error}"), file=sys.stderr)
