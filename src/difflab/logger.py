"""Loggers: a file of JSON lines that is the truth, and a mirror of it on W&B that can fail without harm."""

from __future__ import annotations

import json
import logging
import netrc
import os
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import wandb
from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.loggers.logger import DummyLogger
from PIL.Image import Image

from difflab.run import write_text

log = logging.getLogger(__name__)


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


class Mirror(Logger):
    """W&B through Lightning's logger: online where there is a key, else offline; a failure ends it, never the run.

    The id lies in the run's folder, so that a resumed run stays one run.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any], batch_size: int, project: str) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.inner: WandbLogger | None = None
        self._try(lambda: self._open(folder, config, project, offline=not has_key()))
        if self.inner is None:
            self._try(wandb.teardown)  # of what an unreachable server left half open
            self._try(lambda: self._open(folder, config, project, offline=True))

    def _open(self, folder: Path, config: Mapping[str, Any], project: str, offline: bool) -> None:
        os.environ.setdefault("WANDB_SILENT", "true")  # its failures are ours to report
        identity = folder / "wandb" / "id"
        if not identity.exists():
            write_text(identity, uuid.uuid4().hex[:8])
        quiet = wandb.Settings(
            console="off", x_disable_stats=True, silent=True, disable_git=True, disable_code=True, init_timeout=30
        )
        inner = WandbLogger(
            project=project,
            name=folder.name,
            id=identity.read_text(),
            resume="allow",
            job_type="train",
            save_dir=folder,
            offline=offline,
            settings=quiet,
            config=dict(config),
        )
        inner.experiment.define_metric("images_seen")
        inner.experiment.define_metric("*", step_metric="images_seen")
        self.inner = inner

    def _try(self, action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:  # whatever W&B or the network does, the run goes on
            log.warning("W&B failed, metrics.jsonl goes on: %s", error)
            self.inner = None

    @property
    def name(self) -> str:
        """The kind of log."""
        return "wandb"

    @property
    def version(self) -> str | None:
        """The run's id on W&B."""
        return self.inner.version if self.inner else None

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Mirror a row."""
        row = {**metrics, "images_seen": ((step or 0) + 1) * self.batch_size}
        if self.inner:
            inner = self.inner
            self._try(lambda: inner.log_metrics(row, step))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # Lightning's signature
        """Nothing: the configuration was given at the start."""

    def log_picture(self, key: str, image: Image, step: int) -> None:
        """Mirror a picture."""
        if self.inner:
            inner = self.inner
            self._try(lambda: inner.log_image(key, [image], step))

    def finalize(self, status: str) -> None:
        """Close the W&B run, so that the next job of this process gets its own."""
        if self.inner:
            self._try(lambda: wandb.finish(exit_code=0 if status == "success" else 1))


def has_key() -> bool:
    """Whether a W&B key is set up here, in the environment or in ~/.netrc, and not switched off by WANDB_MODE."""
    server = urlparse(wandb.Settings().base_url).hostname
    try:
        stored = netrc.netrc().authenticators(server or "")
    except (FileNotFoundError, netrc.NetrcParseError):
        stored = None
    return os.environ.get("WANDB_MODE", "online") == "online" and bool(os.environ.get("WANDB_API_KEY") or stored)


@dataclass(frozen=True)
class Wandb:
    """Mirror runs in this W&B project."""

    project: str = "difflab"

    def __call__(self, folder: Path, config: Mapping[str, Any], batch_size: int) -> Logger:
        """The mirror of a run."""
        return Mirror(folder, config, batch_size, self.project)


@dataclass(frozen=True)
class Local:
    """Mirror nothing: the run's folder has it all."""

    def __call__(self, folder: Path, config: Mapping[str, Any], batch_size: int) -> Logger:
        """A logger that does nothing."""
        return DummyLogger()
