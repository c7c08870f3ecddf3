"""Mirrors by Lightning's loggers: TensorBoard, CSV and MLflow, which can fail without harm."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger
from PIL.Image import Image
from PIL.Image import open as open_image

from difflab.experiment.mirror.base import Mirror
from difflab.experiment.mirror.wandb_job import WandbJob
from difflab.experiment.parts.identity import flat
from difflab.experiment.store.files import write_text
from difflab.experiment.store.metrics_file import parsed

log = logging.getLogger(__name__)


class Careful(Logger):
    """A logger of Lightning, behind a logger that ends at its first failure, where the job goes on."""

    def __init__(self, inner: Logger | None, kind: str, batch_size: int) -> None:
        super().__init__()
        self.inner, self.kind, self.batch_size = inner, kind, batch_size

    @property
    def name(self) -> str:
        """The kind of log."""
        return self.kind

    @property
    def version(self) -> int | str | None:
        """That of the logger."""
        return self.inner.version if self.inner else None

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Show a row, with the images seen at its step."""
        row = {key: float(value) for key, value in metrics.items() if key != "epoch" and finite(value)}
        row["images_seen"] = ((step or 0) + 1) * self.batch_size
        self.tell(lambda inner: inner.log_metrics(row, step))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # Lightning's signature
        """Nothing: the configuration was given at the start."""

    def log_picture(self, key: str, image: Image, step: int) -> None:
        """Show a picture, where the logger has a place for pictures."""
        match self.inner:
            case TensorBoardLogger():
                pixels = np.asarray(image.convert("RGB"))
                self.tell(lambda inner: inner.experiment.add_image(key, pixels, step, dataformats="HWC"))
            case MLFlowLogger():
                self.tell(lambda inner: inner.experiment.log_image(inner.run_id, image, f"{key}-{step:07d}.png"))

    def save(self) -> None:
        """Flush the log."""
        self.tell(lambda inner: inner.save())

    def finalize(self, status: str) -> None:
        """Flush the log. It stays open for the scores that follow the training."""
        self.save()

    def close(self, status: str) -> None:
        """Close the log."""
        self.tell(lambda inner: inner.finalize(status))
        self.inner = None

    def tell(self, action: Callable[[Any], object]) -> None:
        """Do this with the logger, if it has not failed before."""
        if self.inner is not None:
            try:
                action(self.inner)
            except Exception as error:
                log.warning("%s failed, the files go on: %s", self.kind, error)
                self.inner = None


@dataclass(frozen=True)
class LightningMirror(Mirror):
    """Show each job by one of Lightning's loggers; a subclass makes the logger."""

    package: ClassVar[str] = ""  # without which there is no such logger, by the name of the extra
    opened: dict[Path, Careful] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.package and not installed(self.package):
            raise ImportError(
                f'logger={self.package} needs an extra: pip install "difflab[{self.package}]"; logger=local needs none'
            )

    def logger(self, job: WandbJob) -> Logger:
        """Lightning's logger of a job."""
        raise NotImplementedError

    def __call__(self, job: WandbJob) -> Logger:
        """The logger of a training, the same until it is closed."""
        if job.folder not in self.opened:
            self.opened[job.folder] = self._open(job, job.config["batch_size"])
        return self.opened[job.folder]

    def log_quality(self, job: WandbJob, found: Mapping[str, Any]) -> None:
        """Show the scores of a training beside its own numbers and its settings."""
        shown = self.opened.get(job.folder) or self._open(job, job.config["batch_size"])
        scores = {key: float(value) for key, value in found.get("metrics", {}).items() if finite(value)}
        match shown.inner:
            case TensorBoardLogger():  # which shows settings beside scores that it gets with them
                shown.tell(lambda inner: inner.log_hyperparams(flat(job.public), scores))
            case _:
                shown.log_metrics(scores, last_step(job))
        if job.folder not in self.opened:
            shown.close("success")

    def log_evaluation(
        self, job: WandbJob, found: Mapping[str, Any], pictures: Mapping[str, Path], images: Path | None = None
    ) -> None:
        """Show the scores, cost, settings and pictures of an evaluation, as a log of its own."""
        shown = self._open(job.with_result(found))
        numbers = {**found.get("metrics", {}), **found.get("cost", {})}
        shown.log_metrics({key: value for key, value in numbers.items() if finite(value)}, 0)
        for key, path in pictures.items():
            with open_image(path) as image:
                shown.log_picture(key, image, 0)
        shown.close("success")

    def close(self, error: BaseException | None = None) -> None:
        """Close the logs that are open."""
        for shown in self.opened.values():
            shown.close("success" if error is None else "failed")
        self.opened.clear()

    def _open(self, job: WandbJob, batch_size: int = 1) -> Careful:
        try:
            made = self.logger(job)
        except Exception as error:
            log.warning("%s failed, the files go on: %s", type(self).__name__, error)
            made = None
        shown = Careful(made, type(self).__name__, batch_size)
        shown.tell(lambda inner: inner.log_hyperparams(flat(job.public)))
        return shown


@dataclass(frozen=True)
class TensorBoard(LightningMirror):
    """TensorBoard's files in the run's folder: `tensorboard --logdir runs` shows all runs."""

    package: ClassVar[str] = "tensorboard"

    def logger(self, job: WandbJob) -> Logger:
        """Its logger; what a training that goes on logs again replaces what was there."""
        again = last_step(job) + 1 if rows_of(job) else None
        return TensorBoardLogger(job.folder, "tensorboard", job.name, default_hp_metric=False, purge_step=again)


@dataclass(frozen=True)
class CSV(LightningMirror):
    """A table of all rows, `csv/NAME/metrics.csv` in the run's folder, with the settings in `hparams.yaml`."""

    def logger(self, job: WandbJob) -> Logger:
        """Its logger; that of a training that goes on has the earlier rows, which CSVLogger would delete."""
        made = CSVLogger(job.folder, "csv", job.name, flush_logs_every_n_steps=1)
        for row in rows_of(job):
            made.log_metrics({key: value for key, value in row.items() if key != "step"}, row["step"])
        return made


@dataclass(frozen=True)
class MLflow(LightningMirror):
    """A run of this MLflow experiment for each job.

    `tracking_uri` is the address of the server or the store; None takes MLFLOW_TRACKING_URI, or else the SQLite file
    `mlflow.db` in the folder of the runs.
    """

    package: ClassVar[str] = "mlflow"
    experiment: str = "difflab"
    tracking_uri: str | None = None

    def logger(self, job: WandbJob) -> Logger:
        """Its logger, that of the same MLflow run where a training goes on."""
        runs_dir = Path(job.config["runs_dir"]).resolve()
        uri = self.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{runs_dir / 'mlflow.db'}"
        kept = job.folder / "mlflow" / f"{job.name}.id"
        known = kept.read_text() if kept.exists() else None
        tags = {"job_type": job.job_type, **job.choices, **({"study": job.study} if job.study else {})}
        place = (runs_dir / "mlflow").as_uri() if uri.startswith("sqlite:") else None
        made = MLFlowLogger(self.experiment, job.name, uri, tags, artifact_location=place, run_id=known)
        write_text(kept, str(made.run_id))
        return made


def rows_of(job: WandbJob) -> list[dict[str, Any]]:
    """The rows of a training so far; none of another job."""
    path = job.folder / "metrics.jsonl"
    lines = path.read_text().splitlines() if job.job_type == "train" and path.exists() else []
    return [*filter(None, map(parsed, lines))]


def last_step(job: WandbJob) -> int:
    """The last step of a training that was logged; 0 where there is none."""
    return max((row["step"] for row in rows_of(job)), default=0)


def finite(value: object) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)


def installed(package: str) -> bool:
    """Whether a package can be imported; it is not imported yet."""
    try:
        return find_spec(package) is not None
    except ValueError:  # of a module that was switched off
        return False
