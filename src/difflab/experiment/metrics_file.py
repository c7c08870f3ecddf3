"""A run's own log: a file of JSON lines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger

from difflab.experiment.files import write_text


class MetricsFile(Logger):
    """`metrics.jsonl`: one JSON object a line, with `step` and `images_seen`; rows from `start` on are dropped."""

    def __init__(self, path: Path, batch_size: int, start: int) -> None:
        super().__init__()
        self.path, self.batch_size = path, batch_size
        rows = path.read_text().splitlines() if path.exists() else []
        write_text(path, "".join(f"{row}\n" for row in rows if row.endswith("}") and json.loads(row)["step"] < start))

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
        row = {"step": step or 0, "images_seen": ((step or 0) + 1) * self.batch_size, **metrics}
        with self.path.open("a") as file:
            file.write(json.dumps({k: v for k, v in row.items() if k != "epoch"}) + "\n")

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # Lightning's signature
        """Nothing: `config.yaml` lies beside."""
