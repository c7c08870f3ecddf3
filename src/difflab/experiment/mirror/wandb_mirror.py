"""A mirror of jobs on W&B, which can fail without harm."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import wandb
from lightning.pytorch.loggers import Logger

import difflab
from difflab.experiment.mirror.base import Mirror
from difflab.experiment.mirror.wandb_artifacts import image_table, log_evaluation, log_model, use
from difflab.experiment.mirror.wandb_job import AGENT, WandbJob, outside_sweep, redacted, secrets_in
from difflab.experiment.mirror.wandb_server import (
    FAILED,
    Mode,
    attempt,
    finish,
    hide_secrets,
    mode,
    said_while_waiting,
    server,
)
from difflab.experiment.mirror.wandb_training import TrainingMirror
from difflab.experiment.store.run import Run

PROVENANCE = ("metrics", "cost", "choices", "command", "study")  # of what was found, said otherwise
STOPPED = (KeyboardInterrupt, SystemExit)  # by a user or a scheduler: no failure
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


@dataclass(frozen=True)
class Wandb(Mirror):
    """Mirror each job as a run of this W&B project: online where there is a key, else offline.

    - project, entity: where on W&B; group, notes, tags: of all runs, the group by default the study or the sweep.
    - artifacts: send the weights of trainings and what evaluations found, linked to what they were made from.
    - alerts: when a training fails, diverges, or skips a gradient that is not finite.
    - system, console, git, requirements, code: also send measurements of the machine, what is printed, the git commit,
      the installed packages, and difflab's source. Values of secret settings are removed from what is printed.

    A training and what follows it in one command are one session of its run. Nothing of it is part of a run's identity.
    """

    project: str = "difflab"
    entity: str | None = None
    group: str | None = None
    notes: str | None = None
    tags: Sequence[str] = ()
    artifacts: bool = True
    alerts: bool = True
    system: bool = False
    console: bool = False
    git: bool = False
    requirements: bool = False
    code: bool = False
    sessions: dict[Path, TrainingMirror] = field(default_factory=dict, init=False, repr=False, compare=False)
    offline: list[Path] = field(default_factory=list, init=False, repr=False, compare=False)  # their folders

    def __call__(self, job: WandbJob) -> Logger:
        """The mirror of a training, the same until it is closed."""
        if job.folder not in self.sessions:
            self.sessions[job.folder] = TrainingMirror(self._open(job), job.config["batch_size"], self.alerts, job.owed)
            self.sessions[job.folder].catch_up(job.folder)
        return self.sessions[job.folder]

    def owes(self, job: WandbJob) -> bool:
        """Whether a process was killed while it had the training's run open."""
        return job.owed.exists()

    def log_model(self, job: WandbJob, run: Run) -> None:
        """Send the weights of a training, linked to its data."""
        if self.artifacts and job.folder in self.sessions:
            self.sessions[job.folder].tell(lambda session: log_model(session, job, run))

    def log_quality(self, job: WandbJob, found: Mapping[str, Any]) -> None:
        """Write the scores of a training into the summary of its run, as columns that one sorts by."""
        scores = found.get("metrics", {})
        if job.folder in self.sessions:
            self.sessions[job.folder].tell(lambda run: run.summary.update(scores))
        else:
            self._write(job, lambda run: run.summary.update(scores))

    def log_cached(
        self, job: WandbJob, found: Mapping[str, Any], pictures: Mapping[str, Path], images: Path | None = None
    ) -> None:
        """Mirror what was found before, if a W&B sweep waits for it."""
        if job.swept and job.folder not in self.sessions:
            self.log_evaluation(job, found, pictures, images)

    def log_evaluation(
        self, job: WandbJob, found: Mapping[str, Any], pictures: Mapping[str, Path], images: Path | None = None
    ) -> None:
        """Mirror what a job found: the content of its file, and pictures by name.

        Metrics and cost are in the summary under their own names, with the card; as `eval/*` they stand against
        `eval/nfe`, and in a table of one row, which W&B joins with those of other jobs, beside the pictures. Another
        table, `images`, has a row for each of the first samples.
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
                tables = {"evaluation": wandb.Table([*cells], [[*cells.values()]])}
                if images and images.exists():
                    tables["images"] = image_table(images, found["card"])
                run.log(tables, step=first + 1)
            if self.artifacts and job.job_type == "evaluate":
                log_evaluation(run, job, found, pictures)

        self._write(job, write)

    def log_table(
        self, job: WandbJob, columns: Sequence[str], rows: Sequence[Sequence[object]], used: Sequence[str] = ()
    ) -> str | None:
        """Push a table, in which a path is a picture; return its address, or the folder for `wandb sync`.

        It is linked to the artifacts that were `used`. None if W&B failed.
        """

        def write(run: wandb.Run) -> None:
            cells = [[wandb.Image(str(cell)) if isinstance(cell, Path) else cell for cell in row] for row in rows]
            use(run, used)
            run.log({"comparison": wandb.Table([*columns], cells)})

        return self._write(job, write)

    def close(self, error: BaseException | None = None) -> None:
        """Close the runs that are open, with an alert for an error; print how to send those that lie on disk."""
        for session in self.sessions.values():
            if error and self.alerts and not isinstance(error, STOPPED):
                text = redacted(str(error) or type(error).__name__)
                session.alert("diverged" if isinstance(error, ArithmeticError) else "failed", text, "ERROR")
            session.close(0 if error is None else 1)
        self.sessions.clear()
        if self.offline:
            print(f"W&B is offline: wandb sync {' '.join(map(shell_path, self.offline))}", flush=True)
            self.offline.clear()

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
        place = str(Path(run.dir).parent) if run.offline else run.url
        return place if done and closed else None

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
        for run in opened:
            if run.settings.mode == "offline":
                self.offline.append(Path(run.dir).parent)
        return opened[0] if opened else None

    def _begin(self, job: WandbJob, mode: Mode) -> wandb.Run:
        os.environ.setdefault("WANDB_SILENT", "true")  # its failures are ours to report
        chosen, name, group = self.settings(job), job.id, self.group or job.group  # of the agent's variables
        with outside_sweep():
            run = wandb.init(
                project=self.project,
                entity=self.entity,
                id=name,
                name=job.name,
                group=group,
                notes=self.notes,
                job_type=job.job_type,
                tags=(*job.tags, *self.tags),
                config=job.public,
                dir=job.folder.absolute(),  # its service may have another working directory
                mode=mode,
                resume="allow",
                reinit="create_new",
                settings=chosen,
            )
        if self.console:
            hide_secrets(run, secrets_in(job.config))
        if self.code:
            run.log_code(str(Path(difflab.__file__).parent), name="difflab")
        return run

    def settings(self, job: WandbJob) -> wandb.Settings:
        """W&B's settings of a job: what is sent beside it, and the sweep that waits for it."""
        sweep = {"sweep_id": AGENT[0], "sweep_param_path": AGENT[2]} if job.swept else {}
        return QUIET.model_copy(
            update={
                "console": "wrap_raw" if self.console else "off",
                "x_disable_stats": not self.system,
                "disable_git": not self.git,
                "x_save_requirements": self.requirements,
                **{key: os.environ[name] for key, name in sweep.items() if name in os.environ},
            }
        )


def shown(pictures: Mapping[str, Path]) -> dict[str, object]:
    """Pictures by name."""
    return {name: wandb.Image(str(path)) for name, path in pictures.items()}


def shell_path(path: Path) -> str:
    """A path as a word for the shell, as short as it can be from here."""
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))
