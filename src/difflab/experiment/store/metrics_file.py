"""A run's own log: a file of JSON lines."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger

from difflab.experiment.store.files import write_text


class MetricsFile(Logger):
    """`metrics.jsonl`: one JSON object a line, with `step` and `images_seen`; of the numbers those that are finite.

    A training that goes on from step `start` drops the rows from there on, and those of a result that it will find
    again, as it has none yet. It prints a line if rows before that are gone or damaged; there is one of the training
    after `every` steps.
    """

    def __init__(self, path: Path, batch_size: int, start: int, every: int) -> None:
        super().__init__()
        self.path, self.batch_size = path, batch_size
        lines = path.read_text().splitlines() if path.exists() else []
        known = (path.parent / "result.json").exists()
        found = filter(None, map(parsed, lines))
        rows = [row for row in found if row["step"] < start and (known or "final/loss" not in row)]
        write_text(path, "".join(f"{json.dumps(row)}\n" for row in rows))
        if (lost := start // every - sum("train/lr" in row for row in rows)) > 0:
            print(f"{path}: {lost} of its rows before step {start} are gone or damaged", flush=True)

    @property
    def name(self) -> str:
        """The kind of log."""
        return "metrics"

    @property
    def version(self) -> str:
        """The run's folder."""
        return self.path.parent.name

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append a row."""
        finite = {key: value for key, value in metrics.items() if key != "epoch" and math.isfinite(value)}
        row = {"step": step or 0, "images_seen": ((step or 0) + 1) * self.batch_size, **finite}
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # Lightning's signature
        """Nothing: `config.yaml` lies beside."""


def parsed(line: str) -> dict[str, Any] | None:
    """The row of a line; None if it is damaged, or was cut off."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None
