"""What was trained, and how it was sampled: the two names that charts tell the cells by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from difflab.report.evaluation import Evaluation
from difflab.report.factors import SAMPLED, spoken
from difflab.report.statistics import Seeds
from difflab.report.study import Cell, Study


def training(study: Study, cell: Cell) -> str:
    """What a cell's network is among the others."""
    return spoken(cell.factors, [key for key in study.told if key not in SAMPLED]) or cell.factors["paradigm"]


def sampling(study: Study, cell: Cell) -> str:
    """How a cell was sampled, among the others."""
    return spoken(cell.factors, [key for key in study.told if key in SAMPLED])


def trainings(study: Study) -> dict[str, list[Evaluation]]:
    """One evaluation of each run, by what was trained."""
    found: dict[str, dict[Path, Evaluation]] = {}
    for cell in study.cells:
        found.setdefault(training(study, cell), {}).update({run.run.folder: run for run in cell.runs})
    return {name: list(runs.values()) for name, runs in found.items()}


def by_level(runs: Sequence[Evaluation]) -> dict[float, dict[Seeds, float]]:
    """The denoising errors of some runs: by log-SNR, by seed."""
    found: dict[float, dict[Seeds, float]] = {}
    for run in runs:
        for level, error in run.result.get("denoising_error", {}).items():
            found.setdefault(float(level), {})[run.seeds[0], 0] = error
    return found
