"""Where jobs are shown beside their files: nowhere, or services that other modules bring."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from lightning.pytorch.loggers import Logger
from lightning.pytorch.loggers.logger import DummyLogger
from PIL.Image import Image

from difflab.experiment.mirror.wandb_job import WandbJob
from difflab.experiment.parts.build import build
from difflab.experiment.store.run import Run


class Mirror:
    """A mirror of jobs, which shows nothing unless a subclass does. Its failures never stop a job.

    It is made for one command, which closes it at its end.
    """

    def __call__(self, job: WandbJob) -> Logger:
        """The logger of a training."""
        return DummyLogger()

    def owes(self, job: WandbJob) -> bool:
        """Whether a process that was killed left something of a training unsent; its logger, made again, sends it."""
        return False

    def log_model(self, job: WandbJob, run: Run) -> None:
        """Show the weights of a training that is finished."""

    def log_quality(self, job: WandbJob, found: Mapping[str, Any]) -> None:
        """Show the scores of a training beside its own numbers."""

    def log_cached(
        self, job: WandbJob, found: Mapping[str, Any], pictures: Mapping[str, Path], images: Path | None = None
    ) -> None:
        """Show a result that was there already, if someone waits for it."""

    def log_evaluation(
        self, job: WandbJob, found: Mapping[str, Any], pictures: Mapping[str, Path], images: Path | None = None
    ) -> None:
        """Show a new result: the content of its file, pictures by name, and the file of its first samples."""

    def close(self, error: BaseException | None = None) -> None:
        """Send the rest and close; `error` is the exception that ended the command, or None."""


@runtime_checkable
class PictureLogger(Protocol):
    """A logger of a training that takes pictures, too."""

    def log_picture(self, key: str, image: Image, step: int) -> None:
        """Show a picture."""


@dataclass(frozen=True)
class Local(Mirror):
    """Show nothing: the run's folder has it all."""


@dataclass(frozen=True)
class Mirrors:
    """All mirrors of a command."""

    each: tuple[Mirror, ...]

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Mirrors:
        """Those of a configuration's `logger`: by name, or one without a name, as earlier versions stored it.

        Raises ValueError for an object that is no mirror, and ImportError for one whose package is not installed.
        """
        found = {"": config} if "_target_" in config else config
        made = {name: build(node) for name, node in found.items()}
        for name, mirror in made.items():
            if not isinstance(mirror, Mirror):
                raise ValueError(f"logger.{name}: {type(mirror).__name__} is no logger of difflab")
        return cls(tuple(made.values()))

    def loggers(self, job: WandbJob) -> list[Logger]:
        """The loggers of a training."""
        return [mirror(job) for mirror in self.each]

    def owed(self, job: WandbJob) -> bool:
        """Open the mirrors of a training that are owed something of it, which sends it; whether there are any."""
        return len([mirror(job) for mirror in self.each if mirror.owes(job)]) > 0

    def log_model(self, job: WandbJob, run: Run) -> None:
        """As `Mirror.log_model`."""
        for mirror in self.each:
            mirror.log_model(job, run)

    def log_quality(self, job: WandbJob, found: Mapping[str, Any]) -> None:
        """As `Mirror.log_quality`."""
        for mirror in self.each:
            mirror.log_quality(job, found)

    def log_cached(
        self, job: WandbJob, found: Mapping[str, Any], pictures: Mapping[str, Path], images: Path | None = None
    ) -> None:
        """As `Mirror.log_cached`."""
        for mirror in self.each:
            mirror.log_cached(job, found, pictures, images)

    def log_evaluation(
        self, job: WandbJob, found: Mapping[str, Any], pictures: Mapping[str, Path], images: Path | None = None
    ) -> None:
        """As `Mirror.log_evaluation`."""
        for mirror in self.each:
            mirror.log_evaluation(job, found, pictures, images)


@contextmanager
def mirrors(config: Mapping[str, Any]) -> Iterator[Mirrors]:
    """The mirrors of a configuration's `logger`, closed at the end of the command, also after an error."""
    found = Mirrors.of(config)
    error: BaseException | None = None
    try:
        yield found
    except BaseException as caught:
        error = caught
        raise
    finally:
        for mirror in found.each:
            mirror.close(error)
