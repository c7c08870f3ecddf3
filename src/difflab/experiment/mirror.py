"""Where jobs are shown beside their files: nowhere, or a service that later modules bring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from lightning.pytorch.loggers import Logger
from lightning.pytorch.loggers.logger import DummyLogger
from PIL.Image import Image

from difflab.experiment.wandb_job import WandbJob


class Mirror(Protocol):
    """A mirror of jobs. Its failures never stop a job: the files are the truth."""

    def __call__(self, job: WandbJob) -> Logger:
        """The logger of a training."""

    def log_cached(self, job: WandbJob, found: Mapping[str, Any], pictures: Mapping[str, Path]) -> None:
        """Mirror a result that was there already, if someone waits for it."""

    def log_evaluation(self, job: WandbJob, found: Mapping[str, Any], pictures: Mapping[str, Path]) -> None:
        """Mirror a new result: the content of its file, and pictures by name."""


@runtime_checkable
class PictureLogger(Protocol):
    """A logger of a training that takes pictures, too."""

    def log_picture(self, key: str, image: Image, step: int) -> None:
        """Mirror a picture."""


@dataclass(frozen=True)
class Local:
    """Mirror nothing: the run's folder has it all."""

    def __call__(self, job: WandbJob) -> Logger:
        """A logger that does nothing."""
        return DummyLogger()

    def log_cached(self, job: WandbJob, found: Mapping[str, Any], pictures: Mapping[str, Path]) -> None:
        """Nothing."""

    log_evaluation = log_cached
