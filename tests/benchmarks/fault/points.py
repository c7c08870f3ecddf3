"""Random kill points: training and measuring with W&B, then a report, stopped at any moment of their known time."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from benchmarks.fault.case import (
    WORDS,
    Case,
    Started,
    differences,
    done,
    environment,
    goes_on,
    last_line,
    left_over,
    status_of,
)
from helpers.equal import content
from helpers.jobs import the_run
from helpers.wandb_server import wandb_server

ONLINE = tuple(word for word in WORDS if word != "logger=local")
LINES = {True: (("evaluate", *ONLINE), ("report",)), False: (("evaluate", *WORDS), ("report",))}
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
EVERY = 4  # points of which one is online
TIMES = ("_timestamp", "_runtime", "per_s", "second", "network_share", "peak_memory")  # in the keys of a row


@dataclass(frozen=True)
class Whole:
    """What the uninterrupted commands come to, and the seconds that each takes."""

    found: Mapping[str, Any]
    seconds: tuple[float, ...]


def history(runs: Mapping[str, Any]) -> dict[str, Any]:
    """The rows on a W&B server by kind of job and step, without times; a key that came twice has all its values."""
    found: dict[str, Any] = {}
    for run in runs.values():
        for row in run.history:
            at = found.setdefault(f"{run.about.get('jobType')} {row['_step']}", {})
            for key, value in row.items():
                if not any(word in key for word in TIMES):
                    value = value.get("sha256") if isinstance(value, dict) and key != "evaluation" else value
                    at.setdefault(key, set()).add("a table" if key == "evaluation" else json.dumps(value))
    return found


def found_in(folder: Path, server: Any) -> dict[str, Any]:  # the helpers of the tests have no types
    """All that must be equal."""
    pages = [path.name for path in folder.glob("report/*.html")]
    return {**content(the_run(folder)), "history": history(server.runs), "pages": pages}


@cache
def whole(online: bool) -> Whole:
    """The commands left to end by themselves."""
    seconds = []
    with tempfile.TemporaryDirectory() as folder, wandb_server() as server, environment(server.environment):
        for command, *words in LINES[online]:
            start = time.monotonic()
            status, said = done(command, *words, cwd=Path(folder))
            seconds.append(time.monotonic() - start)
            if status:
                raise RuntimeError(f"the run without a fault fails: {said}")
        return Whole(found_in(Path(folder), server), tuple(seconds))


def listens(pid: int) -> bool:
    """Whether a process catches SIGTERM by now, as a command does from its start on."""
    try:
        (caught,) = re.findall(r"SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return True
    return bool(int(caught, 16) >> signal.SIGTERM - 1 & 1)


def stopped_at(share: float, signum: int, online: bool, folder: Path) -> str:
    """Stop the line at a share of its time, give it again, and compare."""
    known = whole(online)
    moment, ends = share * sum(known.seconds), "stopped"
    with wandb_server() as server, environment(server.environment):
        for (command, *words), seconds in zip(LINES[online], known.seconds, strict=True):
            process = Started(command, *words, cwd=folder)
            while process.poll() is None and not listens(process.process.pid):
                time.sleep(0.001)
            process.process.join(moment if moment < seconds else None)
            in_time = process.poll() is None
            if in_time:
                os.kill(process.process.pid, signum)
            status, said = process.end()
            in_time &= not (signum == signal.SIGKILL and status == 0)  # it ended just before the signal came
            if status != (status_of(signum) if in_time else 0):
                ends = f"ended with {status}: {last_line(said)}"
            if in_time:
                break
            moment = max(0.0, moment - seconds)
        if "Traceback" in said:
            return f"a traceback at {command}: {said.strip()[:1500]}"
        if (left := left_over(folder)) != "none left":
            return left
        again = [goes_on(folder, *words, command=command) for command, *words in LINES[online]]
        if failed := [each for each in again if each != "goes on"]:
            return "; ".join(failed)
        return f"{ends}, goes on, {differences(found_in(folder, server), known.found)}"


def cases(points: int, seed: int) -> Iterator[Case]:
    """A case for each point: the signals in turn, the moments at random."""
    generator = random.Random(seed)
    for k in range(points):
        share, signum, online = generator.random(), SIGNALS[k % len(SIGNALS)], k % EVERY == 0
        yield Case(
            f"{signum.name} at {share:.1%} of evaluate, report{', W&B online' if online else ''}",
            "stopped, goes on, equal",
            partial(stopped_at, share, signum, online),
        )
