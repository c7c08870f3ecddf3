"""A training on W&B: its rows and pictures, over the images seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import wandb
from lightning.pytorch.loggers import Logger
from PIL.Image import Image
from PIL.Image import open as open_image

from difflab.experiment.mirror.wandb_server import attempt, finish
from difflab.experiment.picture.files import picture_at
from difflab.experiment.store.metrics_file import parsed

LOGGED = ("train/*", "val/*", "final/*", "selection/*", "gradients/*", "weights/*")  # over the images seen
COUNTED = ("step", "images_seen")  # in a row of the file; the mirror counts them itself
TITLE = 63  # letters of an alert's title that W&B takes


class TrainingMirror(Logger):
    """A training on W&B, over the images seen; the first failure ends the mirror, never the training.

    Each row has its optimiser step, so that what a resumed training logs again is not counted twice. With `alerts` the
    first gradient that is not finite raises an alert. The file `owed` is there while the run is open.
    """

    def __init__(self, run: wandb.Run | None, batch_size: int, alerts: bool = False, owed: Path | None = None) -> None:
        super().__init__()
        self.run, self.batch_size, self.alerts, self.owed = run, batch_size, alerts, owed
        if run and owed:
            owed.touch()
        self.tell(lambda run: run.define_metric("images_seen"))
        self.tell(lambda run: [run.define_metric(key, step_metric="images_seen") for key in LOGGED])

    @property
    def name(self) -> str:
        """The kind of log."""
        return "wandb"

    @property
    def version(self) -> str | None:
        """The id on W&B."""
        return self.run.id if self.run else None

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Mirror a row."""
        row = {key: value for key, value in metrics.items() if key != "epoch" and math.isfinite(value)}
        seen = ((step or 0) + 1) * self.batch_size
        self.tell(lambda run: run.log({**row, "images_seen": seen}, step=step_of({"step": step or 0, **row})))
        if self.alerts and "train/skipped" in row:
            self.alerts = False  # one is enough
            self.alert("a gradient is not finite", f"The step near {step} changes no weights; ten in a row end it.")

    def alert(self, what: str, text: str, level: str = "WARN") -> None:
        """Raise an alert, titled by the run's name and what happened."""
        self.tell(lambda run: run.alert(f"{what}: {run.name}"[:TITLE], text, level))

    def catch_up(self, folder: Path) -> None:
        """Send what a run's files have and the server has not: a killed process takes along what it has not sent."""
        run = self.run
        if run is None or run.offline:
            return
        path, first = folder / "metrics.jsonl", run.step
        found = filter(None, map(parsed, path.read_text().splitlines() if path.exists() else []))
        for at, rows in groupby((row for row in found if step_of(row) >= first), step_of):
            for row in rows:
                self.log_metrics({key: value for key, value in row.items() if key not in COUNTED}, row["step"])
            for picture in sorted(folder.glob(str(picture_at(Path("*"), at + 1)))):
                with open_image(picture) as image:
                    self.log_picture(picture.parent.name, image, at + 1)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # Lightning's signature
        """Nothing: the configuration was given at the start."""

    def log_picture(self, key: str, image: Image, step: int) -> None:
        """Mirror a picture."""
        seen, at = step * self.batch_size, max(0, step - 1)
        self.tell(lambda run: run.define_metric(key, step_metric="images_seen"))
        self.tell(lambda run: run.log({key: wandb.Image(image), "images_seen": seen}, step=at))

    def tell(self, action: Callable[[wandb.Run], object]) -> None:
        """Do this with the run, if it is open still."""
        run = self.run
        if run and not attempt(lambda: action(run)):
            self.close(1)

    def finalize(self, status: str) -> None:
        """Nothing: the run on W&B stays open for what the command does after the training."""

    def close(self, exit_code: int) -> None:
        """Close the W&B run."""
        run, self.run = self.run, None
        if run:
            finish(run, exit_code)
            if self.owed:
                self.owed.unlink(missing_ok=True)


def step_of(row: Mapping[str, Any]) -> int:
    """The step of a row on W&B: the last row of a training follows the pictures of its last step."""
    return int(row["step"]) + ("final/loss" in row)
