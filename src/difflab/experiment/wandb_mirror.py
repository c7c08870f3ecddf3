"""A mirror of jobs on W&B, which can fail without harm."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import wandb
from lightning.pytorch.loggers import Logger
from PIL.Image import Image
from PIL.Image import open as open_image

from difflab.experiment.metrics_file import parsed
from difflab.experiment.wandb_job import WandbJob, outside_sweep
from difflab.experiment.wandb_server import FAILED, Mode, attempt, finish, mode, said_while_waiting, server

log = logging.getLogger(__name__)


LOGGED = ("train/*", "val/*", "final/*", "samples")  # by a training, over the images seen
COUNTED = ("step", "images_seen")  # in a row of the file; the mirror counts them itself
PROVENANCE = ("metrics", "cost", "choices", "command", "study")  # of what was found, said otherwise
QUIET = wandb.Settings(
    console="off",
    silent=True,
    disable_git=True,
    disable_code=True,
    x_disable_meta=True,  # it has the words of the command as they were typed
    x_disable_stats=True,
    x_save_requirements=False,
    init_timeout=30,
    finish_timeout=60,  # then what is not sent stays on disk, for `wandb sync`
    finish_timeout_raises=True,
)


class TrainingMirror(Logger):
    """A training on W&B, over the images seen; the first failure ends the mirror, never the training.

    Each row has its optimiser step, so that what a resumed training logs again is not counted twice.
    """

    def __init__(self, run: wandb.Run | None, batch_size: int) -> None:
        super().__init__()
        self.run, self.batch_size = run, batch_size
        self._tell(lambda run: run.define_metric("images_seen"))
        self._tell(lambda run: [run.define_metric(key, step_metric="images_seen") for key in LOGGED])

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
        self._tell(lambda run: run.log({**row, "images_seen": seen}, step=(step or 0) + ("final/loss" in row)))

    def catch_up(self, folder: Path) -> None:
        """Send what a run's files have and the server has not: a killed process takes along what it has not sent."""
        run = self.run
        if run is None or run.offline:
            return
        path, first = folder / "metrics.jsonl", run.step
        rows = filter(None, map(parsed, path.read_text().splitlines() if path.exists() else []))
        for step, logged in groupby((row for row in rows if row["step"] >= first), lambda row: int(row["step"])):
            for row in logged:
                self.log_metrics({key: value for key, value in row.items() if key not in COUNTED}, step)
            if (picture := folder / "samples" / f"step-{step + 1:07d}.png").exists():
                with open_image(picture) as image:
                    self.log_picture("samples", image, step + 1)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # Lightning's signature
        """Nothing: the configuration was given at the start."""

    def log_picture(self, key: str, image: Image, step: int) -> None:
        """Mirror a picture."""
        seen, at = step * self.batch_size, max(0, step - 1)
        self._tell(lambda run: run.log({key: wandb.Image(image), "images_seen": seen}, step=at))

    def _tell(self, action: Callable[[wandb.Run], object]) -> None:
        run = self.run
        if run and not attempt(lambda: action(run)):
            self.finalize("failed")

    def finalize(self, status: str) -> None:
        """Close the W&B run."""
        run, self.run = self.run, None
        if run:
            finish(run, 0 if status == "success" else 1)


@dataclass(frozen=True)
class Wandb:
    """Mirror each job as a run of this W&B project: online where there is a key, else offline."""

    project: str = "difflab"
    entity: str | None = None

    def __call__(self, job: WandbJob) -> Logger:
        """The mirror of a training."""
        mirror = TrainingMirror(self._open(job), job.config["batch_size"])
        mirror.catch_up(job.folder)
        return mirror

    def log_cached(self, job: WandbJob, found: Mapping[str, Any], pictures: Mapping[str, Path]) -> None:
        """Mirror what was found before, if a W&B sweep waits for it."""
        if job.swept:
            self.log_evaluation(job, found, pictures)

    def log_evaluation(self, job: WandbJob, found: Mapping[str, Any], pictures: Mapping[str, Path]) -> None:
        """Mirror what a job found: the content of its file, and pictures by name.

        Metrics and cost are in the summary under their own names, with the card; as `eval/*` they stand against
        `eval/nfe`, and in a table of one row, which W&B joins with those of other jobs, beside the pictures.
        """
        job = job.with_result(found)
        numbers = {**found.get("metrics", {}), **found.get("cost", {})}
        others = {key: value for key, value in found.items() if key not in PROVENANCE}

        def write(run: wandb.Run) -> None:
            run.define_metric("eval/nfe")
            run.define_metric("eval/*", step_metric="eval/nfe")
            first = 0 if job.job_type == "evaluate" else run.step  # what has arrived already is not counted twice
            run.log({f"eval/{key}": value for key, value in numbers.items()} | shown(pictures), step=first)
            run.summary.update(others | numbers)
            if pictures:
                cells = {"job": job.name, **job.choices, **numbers, **shown(pictures)}
                run.log({"evaluation": wandb.Table([*cells], [[*cells.values()]])}, step=first + 1)

        self._write(job, write)

    def log_table(self, job: WandbJob, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str | None:
        """Push a table, in which a path is a picture; return its address, or the folder for `wandb sync`.

        None if W&B failed.
        """

        def write(run: wandb.Run) -> None:
            cells = [[wandb.Image(str(cell)) if isinstance(cell, Path) else cell for cell in row] for row in rows]
            run.log({"comparison": wandb.Table([*columns], cells)})

        return self._write(job, write)

    def owner(self) -> str:
        """Whose the project is; empty where there is no server to keep it."""
        found: list[str | None] = []
        attempt(lambda: found.append((self.entity or wandb.Api().default_entity) if mode() == "online" else None))
        return next(filter(None, found), "")

    def _write(self, job: WandbJob, action: Callable[[wandb.Run], None]) -> str | None:
        run = self._open(job)
        if run is None:
            return None
        done = attempt(lambda: action(run))
        closed = finish(run, 0 if done else 1)
        return (run.url or str(Path(run.dir).parent)) if done and closed else None

    def _open(self, job: WandbJob) -> wandb.Run | None:
        """A job's W&B run: offline if the server fails, None if that fails too."""
        opened: list[wandb.Run] = []
        where, asked = server(), mode()
        with said_while_waiting(f"waiting for {where} to answer, at most 30 s"):
            begun = attempt(lambda: opened.append(self._begin(job, asked)))
        if not begun:
            FAILED.update([where] if asked == "online" else [])
            attempt(wandb.teardown)  # of what an unreachable server left half open
            attempt(lambda: opened.append(self._begin(job, "offline")))
        return opened[0] if opened else None

    def _begin(self, job: WandbJob, mode: Mode) -> wandb.Run:
        os.environ.setdefault("WANDB_SILENT", "true")  # its failures are ours to report
        if "WANDB_SWEEP_ID" in os.environ:
            wandb.teardown()  # it reads the agent's variables once, for all jobs of a process
        with nullcontext() if job.swept else outside_sweep():
            return wandb.init(
                project=self.project,
                entity=self.entity,
                id=job.id,
                name=job.name,
                group=job.study,
                job_type=job.job_type,
                tags=job.tags,
                config=job.public,
                dir=job.folder.absolute(),  # its service may have another working directory
                mode=mode,
                resume="allow",
                reinit="create_new",
                settings=QUIET,
            )


def shown(pictures: Mapping[str, Path]) -> dict[str, object]:
    """Pictures by name."""
    return {name: wandb.Image(str(path)) for name, path in pictures.items()}
