"""The table at the end of a sweep."""

from __future__ import annotations

from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table as RichTable

COLUMNS = (
    "loss",
    "loss_spread",
    "accuracy",
    "bits_per_dim",
    "fd_lite0",
    "kid_lite0",
    "w2",
    "energy",
)  # shown where they are found


class Table(Callback):
    """Hydra's callback that tabulates what the jobs of a sweep found, a row a job, by what was varied."""

    def __init__(self) -> None:
        self.rows: list[tuple[list[str], dict[str, Any]]] = []

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: object) -> None:
        """Keep the result of a job. One that fails ends the sweep; issued again it does what is left."""
        if job_return.status == JobStatus.COMPLETED:
            self.rows.append((list(job_return.overrides or []), job_return.return_value))

    def on_multirun_end(self, config: DictConfig, **_: object) -> None:
        """Print the table."""
        flat = [{**found, **found.get("metrics", {})} for _, found in self.rows]
        columns = [key for key in COLUMNS if any(key in found for found in flat)]
        table = RichTable("", *columns)
        common = set.intersection(*(set(overrides) for overrides, _ in self.rows)) if len(self.rows) > 1 else set()
        for (overrides, _), values in zip(self.rows, flat, strict=True):
            name = " ".join(override for override in overrides if override not in common)
            cells = [f"{values[key]:.4g}" if key in values else "" for key in columns]
            table.add_row(name, *cells)
        Console(width=160).print(table)
