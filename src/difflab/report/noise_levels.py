"""The noise levels of a training on the page: the curves of its configuration, and the held-out error at each level."""

from __future__ import annotations

from collections.abc import Sequence

from difflab.report.record import Record
from difflab.report.statistics import Seeds


def denoising_errors(runs: Sequence[Record]) -> dict[float, dict[Seeds, float]]:
    """The held-out denoising errors of some runs: by log-SNR, by the seeds of the training."""
    errors: dict[float, dict[Seeds, float]] = {}
    for run in runs:
        for level, error in run.result.get("denoising_error", {}).items():
            errors.setdefault(float(level), {})[run.seeds[0], 0] = error
    return errors
