"""What the jobs of a multirun did: a file a job, whatever launcher ran it, and the table at the end."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from difflab.experiment.files import write_json

Found = TypeVar("Found")
FOLDER = "DIFFLAB_SWEEP"  # the variable by which a launcher's processes know the folder of their outcomes
COLUMNS = ("loss", "loss_spread", "accuracy", "bits_per_dim", "bits_per_dim_bound", "nfe")  # and what has a floor
FORGOTTEN = 30 * 24 * 3600  # seconds: no multirun takes a month
COUNTS = ("trained", "measured", "cached")


class Sweep(Callback):
    """Hydra's callback that makes the folder for the outcomes of a multirun's jobs."""

    def on_multirun_start(self, config: DictConfig, **_: object) -> None:
        """Make it where the runs lie: the processes of a cluster see it there."""
        sweeps = Path(config.runs_dir).resolve() / ".sweeps"
        sweeps.mkdir(parents=True, exist_ok=True)
        for left in sweeps.iterdir():  # by multiruns that were killed
            if time.time() - left.stat().st_mtime > FORGOTTEN:
                shutil.rmtree(left)
        os.environ[FOLDER] = tempfile.mkdtemp(dir=sweeps)


def outcome(task: Callable[[DictConfig], dict[str, Any] | None], config: DictConfig) -> dict[str, Any] | None:
    """Do a job and return what it found; in a multirun write that down, or why it failed, and let the others go on."""
    hydra = HydraConfig.get()
    folder = os.environ.get(FOLDER)
    if not one_of_many() or not folder:
        return task(config)
    path, overrides = Path(folder) / f"{hydra.job.num}.json", OmegaConf.to_container(hydra.overrides.task)
    write_json(path, {"overrides": overrides, "found": None, "error": "its process ended before it did"})
    found, error = attempt(lambda: task(config))
    write_json(path, {"overrides": overrides, "found": found, "error": error})
    if found and "plan" not in found:
        print(line(found), flush=True)
    return found


def one_of_many() -> bool:
    """Whether this is a job of a multirun."""
    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)


def floored(metrics: Mapping[str, Any]) -> list[str]:
    """The scores that have a floor; `n_floor` is how many samples it is of."""
    return [key for key in metrics if f"{key}_floor" in metrics and key != "n"]


def line(found: Mapping[str, Any]) -> str:
    """What a job found, in a line."""
    metrics = found.get("metrics", {})
    scores = [f"{key} {metrics[key]:.4g}" for key in floored(metrics)[:2]]
    return f"{found['run']}: {', '.join([word for word in COUNTS if found.get(word)] + scores)}"


def attempt(job: Callable[[], Found]) -> tuple[Found | None, str | None]:
    """What a job returns, or why it failed; a signal, which ends a job without a word, goes on."""
    try:
        return job(), None
    except SystemExit as refusal:
        if not isinstance(refusal.code, str):
            raise
        error = refusal.code
    except Exception as failure:
        traceback.print_exc()
        error = f"{type(failure).__name__}: {failure}"
    print(f"FAILED: {error}", flush=True)
    return None, error


def close() -> int:
    """End a multirun, if there was one: show what its jobs did, and return how many failed."""
    folder = os.environ.pop(FOLDER, None)
    if folder is None:
        return 0
    files = sorted(Path(folder).glob("*.json"), key=lambda path: int(path.stem))
    outcomes = [json.loads(path.read_text()) for path in files]
    shutil.rmtree(folder)
    if outcomes:
        show(outcomes)
    return sum(job["error"] is not None for job in outcomes)


def tell(plan: Mapping[str, Any]) -> dict[str, Any]:
    """What a job found that only planned; if it is the only one, show it."""
    hydra = HydraConfig.get()
    found = {"plan": dict(plan)}
    if not one_of_many():
        show([{"overrides": OmegaConf.to_container(hydra.overrides.task), "found": found, "error": None}])
    return found


def show(outcomes: Sequence[Mapping[str, Any]]) -> None:
    """A row a job, named by what was varied; then the counts; then the failures."""
    console = Console(width=None if Console().is_terminal else 200)
    common = set.intersection(*(set(job["overrides"]) for job in outcomes)) if len(outcomes) > 1 else set()
    names = [" ".join(word for word in job["overrides"] if word not in common) for job in outcomes]
    found = [job["found"] or {} for job in outcomes]
    plans = [each["plan"] for each in found if "plan" in each]
    table, closing = planned(names, found, plans) if plans else done(names, outcomes, found)
    console.print(table)
    console.print(closing, highlight=False)
    for name, job in zip(names, outcomes, strict=True):
        if job["error"]:
            console.print(f"failed: {name}: {job['error']}", markup=False, highlight=False)


def done(
    names: Sequence[str], outcomes: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]
) -> tuple[Table, str]:
    """What jobs found, and how much of it they had to do."""
    flat = [{**each, **each.get("metrics", {}), **each.get("cost", {})} for each in found]
    scores = [key for values in flat for key in floored(values)]
    columns = [key for key in dict.fromkeys((*COLUMNS, *scores)) if any(key in values for values in flat)]
    table = Table("", *columns, "did")
    for name, values, job in zip(names, flat, outcomes, strict=True):
        cells = [f"{values[key]:.4g}" if key in values else "" for key in columns]
        table.add_row(escape(name), *cells, "failed" if job["error"] else ", ".join(w for w in COUNTS if values.get(w)))
    counts = ", ".join(f"{sum(values.get(word, 0) for values in flat)} {word}" for word in COUNTS)
    return table, f"{len(names)} jobs: {counts}, {sum(job['error'] is not None for job in outcomes)} failed"


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
