"""Jobs on two processes and sweeps: one of them, or what has started them, is ended; none is left; the line goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

from benchmarks.fault.case import HANG, Case, differences, last_line, left_over, status_of, until
from difflab.experiment.store.run import Run
from helpers.equal import content
from helpers.jobs import TOY, start
from helpers.processes import running

TWO = (*TOY, "images=6400", "check_every=1280", "nfe=4", "trainer.devices=2")  # 100 steps, validated after each 20
SWEEP = ("-m", *TOY, "images=6400", "check_every=1280", "nfe=4", "seed=0,1")
JOBLIB = (*SWEEP, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")


def ended(process: Any) -> tuple[int, str]:  # a Popen
    """Its status and its words; -1 if it hangs."""
    try:
        said, _ = process.communicate(timeout=HANG)
    except subprocess.TimeoutExpired:
        process.kill()
        return -1, "it hangs"
    return process.returncode, said


def contents(folder: Path) -> dict[str, Any]:
    """What all runs of a folder came to, by part."""
    runs = {path.parent.name: content(Run(path.parent)) for path in folder.glob("runs/*/result.json")}
    return {f"{part} of {name}": found for name, run in runs.items() for part, found in run.items()}


@cache
def undisturbed(command: str, words: tuple[str, ...]) -> Mapping[str, Any]:
    """The same of a command that nothing has disturbed."""
    with tempfile.TemporaryDirectory() as folder:
        status, said = ended(start(command, *words, cwd=Path(folder).resolve()))
        if status:
            raise RuntimeError(f"the run without a fault fails: {said}")
        return contents(Path(folder))


def stopped(command: str, words: tuple[str, ...], signum: int, whom: int | None, folder: Path) -> str:
    """Send a signal to the parent, or to the member of a rank, once a state is saved; give the line again, compare."""
    process = start(command, *words, cwd=folder)
    until(lambda: [*folder.glob("runs/*/checkpoints/last.ckpt")], process)
    if whom is None:
        process.send_signal(signum)
    else:
        signal_member(whom, signum, folder, process.pid)
    status, said = ended(process)
    traced = "a traceback, " if "Traceback" in said else ""
    left = left_over(folder)
    again, more = ended(start(command, *words, cwd=folder))
    if again:
        return f"{status}, {traced}{left}, does not go on: {last_line(more)}"
    equal = differences(contents(folder), undisturbed(command, words))
    return f"{status}, {traced}{left}, goes on, {equal}"


def signal_member(rank: int, signum: int, folder: Path, parent: int) -> None:
    """Send a signal to one of the two members of a job, the last two processes that were started."""
    members = sorted(pid for pid in running(folder) if pid != parent)[-2:]
    os.kill(members[rank], signum)


def cases() -> Iterator[Case]:
    """Ranks, the parent of two processes, and the parents of sweeps."""
    rest = "none left, goes on, equal"
    for rank in (0, 1):
        yield Case(
            f"two processes: SIGKILL of rank {rank}",
            f"1, {rest}",
            partial(stopped, "train", TWO, signal.SIGKILL, rank),
        )
    for kind, command, words in (
        ("two processes: {} of the parent", "train", TWO),
        ("joblib: {} of the parent", "evaluate", JOBLIB),
        ("sweep: {} of the parent", "evaluate", SWEEP),
    ):
        for signum in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            yield Case(
                kind.format(signum.name),
                f"{status_of(signum)}, {rest}",
                partial(stopped, command, words, signum, None),
            )
