"""The settings that vary between the trainings of a study, and between its ways of sampling, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from difflab.report.cell import Cell
from difflab.report.study import Study
from difflab.report.words import is_sampled


@dataclass(frozen=True)
class Differences:
    """A table of settings: a row for each that varies, a column for each training or each way of sampling."""

    columns: Sequence[str]
    rows: dict[str, list[str]]  # by the key that users type; empty where a column has no such setting


def training_differences(study: Study) -> Differences:
    """The settings in which the trainings differ."""
    return differences(study, study.training_label, [key for key in study.varied if not is_sampled(key)])


def sampling_differences(study: Study) -> Differences:
    """The settings in which the ways of sampling differ."""
    return differences(study, study.sampling_label, [key for key in study.varied if is_sampled(key)])


def differences(study: Study, label: Callable[[Cell], str], keys: Sequence[str]) -> Differences:
    """The values of some factors by label; several values of one label stand side by side."""
    cells: dict[str, list[Cell]] = {}
    for cell in study.cells:
        cells.setdefault(label(cell), []).append(cell)
    rows = {key: [", ".join(dict.fromkeys(c.factors[key] for c in each)) for each in cells.values()] for key in keys}
    return Differences(list(cells), rows)
