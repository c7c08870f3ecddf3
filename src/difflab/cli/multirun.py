"""What the jobs of a multirun did: a file for each job, by whichever launcher it ran, and the table at the end."""

from __future__ import annotations

import json
import shutil
import signal
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from difflab.cli.line import Study
from difflab.experiment.machine.signals import handled
from difflab.experiment.machine.terminal import duration, job_of_study
from difflab.experiment.parts.errors import UserError
from difflab.experiment.store.files import write_json

Found = TypeVar("Found")
SCORES = 3  # columns of them in the closing table: first those with a floor, then of these
WHOLE = 24  # characters of a word that stays in one line in a narrow terminal
OTHERS = ("bits_per_dim", "bits_per_dim_bound", "accuracy", "loss")
FORGOTTEN = 30 * 24 * 3600  # seconds: no multirun takes a month
UNFINISHED = "its process ended before it did"
STOPPED = "stopped; the same command goes on"
WORK = ("trained", "measured")
COUNTS = (*WORK, "cached")


@dataclass(frozen=True)
class Outcomes:
    """The folder in which the jobs of a multirun leave what they found: with the runs, where a cluster sees it."""

    folder: Path
    study: Study
    begun: float = field(default_factory=time.time)

    @classmethod
    def new(cls, runs_dir: Path, study: Study) -> Outcomes:
        """An empty folder; those that killed multiruns left behind long ago are removed."""
        parent = runs_dir.resolve() / ".sweeps"
        for left in parent.iterdir() if parent.exists() else ():
            if time.time() - left.stat().st_mtime > FORGOTTEN:
                shutil.rmtree(left)
        folder = parent / uuid.uuid4().hex
        folder.mkdir(parents=True)
        return cls(folder, study)

    @property
    def stopping(self) -> Path:
        """A file that is there once the multirun was asked to stop: no job begins then, and those at work stop."""
        return self.folder / "stop"

    def record(
        self, number: int, words: Sequence[str], program: str, job: Callable[[], dict[str, Any] | None]
    ) -> dict[str, Any] | None:
        """Do a job and write down what it found, or why it failed, so that the others go on."""
        path, overrides = self.folder / f"{number}.json", list(words)
        if self.stopping.exists():
            write_json(path, {"overrides": overrides, "found": None, "error": STOPPED})
            return None
        write_json(path, {"overrides": overrides, "found": None, "error": UNFINISHED})
        try:
            with job_of_study(name := f"job {number + 1} of {self.study.count}"):
                found, error = attempt(job, program)
        except SystemExit:
            if not self.stopping.exists():
                raise
            found, error = None, STOPPED  # the launcher would take it for a failure of all jobs
        write_json(path, {"overrides": overrides, "found": found, "error": error})
        if found and "plan" not in found:
            varied = " ".join(word for word in overrides if word.partition("=")[0] in self.study.factors)
            print(f"{name}: {varied or found['run']}: {summary(found)}{self.left}", flush=True)
        return found

    @property
    def left(self) -> str:
        """The time that the other jobs take, if each takes that of the jobs so far that had work to do."""
        found = [json.loads(path.read_text()) for path in self.folder.glob("*.json")]
        over = [each for each in found if each["found"] or each["error"] not in (None, UNFINISHED)]
        worked = sum(any((each["found"] or {}).get(word) for word in WORK) for each in over)
        more = self.study.count - len(over)
        return f", {duration((time.time() - self.begun) / worked * more)} left" if worked and more else ""

    @contextmanager
    def stopped_by_signals(self) -> Iterator[None]:
        """At SIGINT or SIGTERM have the jobs of a launcher stop, which save their state, and then end, too.

        A second signal does not wait for them. Raises SystemExit of 128 + the signal.
        """
        received: list[int] = []

        def ask(signum: int, frame: FrameType | None) -> None:
            if received:
                raise SystemExit(128 + signum)
            received.append(signum)
            self.stopping.touch()
            print("stopping: jobs at work save their state", flush=True)

        with handled(ask, signal.SIGINT, signal.SIGTERM):
            yield
        if received:
            raise SystemExit(128 + received[0])

    def close(self, verbose: bool) -> int:
        """Print what the jobs did, with all scores if `verbose`, remove the folder, and return how many failed."""
        files = sorted(self.folder.glob("*.json"), key=lambda path: int(path.stem))
        outcomes = [json.loads(path.read_text()) for path in files]
        shutil.rmtree(self.folder)
        if outcomes:
            show(outcomes, verbose)
        return sum(job["error"] is not None for job in outcomes)


def attempt(job: Callable[[], Found], program: str) -> tuple[Found | None, str | None]:
    """Run `job`: (result, None) or (None, error). A signal, which ends a process with a status, propagates."""
    try:
        return job(), None
    except UserError as refusal:
        error = f"{program}: {refusal}"
    except SystemExit as end:
        if not isinstance(end.code, str):
            raise
        error = end.code
    except Exception as failure:
        traceback.print_exc()
        error = f"{type(failure).__name__}: {failure}"
    print(f"FAILED: {error}", flush=True)
    return None, error


def floored(metrics: Mapping[str, Any]) -> list[str]:
    """The scores that have a floor; `n_floor` is the number of samples that it is of."""
    return [key for key in metrics if f"{key}_floor" in metrics and key != "n"]


def summary(found: Mapping[str, Any]) -> str:
    """What a job did, and its first two scores."""
    metrics = found.get("metrics", {})
    scores = [f"{key} {metrics[key]:.4g}" for key in floored(metrics)[:2]]
    return ", ".join([word for word in COUNTS if found.get(word)] + scores)


def show(outcomes: Sequence[Mapping[str, Any]], verbose: bool) -> None:
    """A row a job, named by what was varied; then the counts; then the failures."""
    console = Console(width=None if Console().is_terminal else 200)
    common = set.intersection(*(set(job["overrides"]) for job in outcomes)) if len(outcomes) > 1 else set()
    words = [[word for word in job["overrides"] if word not in common] for job in outcomes]
    names = [" ".join(each) for each in words]
    found = [job["found"] or {} for job in outcomes]
    plans = [each["plan"] for each in found if "plan" in each]
    table, closing = planned(names, found, plans) if plans else done(words, outcomes, found, verbose)
    console.print(table)
    console.print(closing, highlight=False)
    for name, job in zip(names, outcomes, strict=True):
        if job["error"]:
            console.print(f"failed: {name}: {job['error']}", markup=False, highlight=False)


def done(
    words: Sequence[Sequence[str]],
    outcomes: Sequence[Mapping[str, Any]],
    found: Sequence[Mapping[str, Any]],
    verbose: bool,
) -> tuple[Table, str]:
    """What jobs found, a column for each word that varies and for a few scores; and how much they had to do."""
    flat = [{**each, **each.get("metrics", {}), **each.get("cost", {})} for each in found]
    known = dict.fromkeys([*(key for values in flat for key in floored(values)), *OTHERS])
    scores = [key for key in known if any(key in values for values in flat)]
    most = len(scores) if verbose else SCORES
    varied = [dict(word.partition("=")[::2] for word in each) for each in words]
    counted = [
        (each.get("nfe"), f"{values['nfe']:.4g}") for each, values in zip(varied, flat, strict=True) if "nfe" in values
    ]
    columns = [*scores[:most], *(["nfe"] if any(asked != used for asked, used in counted) else [])]
    keys = list(dict.fromkeys(key for each in varied for key in each))
    longest = {key: max(len(each.get(key, "")) for each in varied) for key in keys}
    named = [Column(escape(key), overflow="fold", no_wrap=longest[key] <= WHOLE) for key in keys]
    failed = [""] if any(job["error"] for job in outcomes) else []  # the heading of a column that names them
    table = Table(*named, *(key.replace("_", " ") for key in columns), *failed, box=SIMPLE, padding=(0, 1, 0, 0))
    for each, values, job in zip(varied, flat, outcomes, strict=True):
        cells = [f"{values[key]:.4g}" if key in values else "" for key in columns]
        table.add_row(*(escape(each.get(key, "")) for key in keys), *cells, *(["failed"] if job["error"] else []))
    counts = ", ".join(f"{sum(values.get(word, 0) for values in flat)} {word}" for word in COUNTS)
    more = f"{len(scores) - most} more scores of each: -v after the same command, or difflab-report\n"
    more *= len(scores) > most
    return table, f"{more}{len(words)} jobs: {counts}, {sum(job['error'] is not None for job in outcomes)} failed"


def planned(
    names: Sequence[str], found: Sequence[Mapping[str, Any]], plans: Sequence[Mapping[str, Any]]
) -> tuple[Table, str]:
    """What jobs would do, and that in all: each missing run is trained once, for whichever job comes first."""
    columns = [key for key in plans[0] if key != "run"]
    table = Table("", *columns)
    for name, each in zip(names, found, strict=True):
        table.add_row(escape(name), *(f"{each['plan'][key]:,.0f}" for key in columns if "plan" in each))
    runs = {plan["run"]: plan for plan in plans}
    images = sum(plan["images to train"] for plan in runs.values())
    evaluations = sum(plan["network evaluations"] for plan in plans)
    seconds = sum(plan["training seconds"] for plan in runs.values()) + sum(p["measuring seconds"] for p in plans)
    missing = sum(plan["images to train"] > 0 for plan in runs.values())
    return table, (
        f"jobs: {len(plans)}; runs: {len(runs)}, of which {missing} to train, on {images:,} images in all; to measure: "
        f"{sum(p['to measure'] for p in plans)}, with {evaluations:,} network evaluations; cached: "
        f"{sum(p['cached'] for p in plans)}; on this machine about {seconds:,.0f} s, one job after the other"
    )
