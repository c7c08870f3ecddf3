"""The worst moments to be stopped at, by signals that arrive at one exact line, and while measuring and waiting."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.fault.case import WORDS, Case, Started, again, at_step, done, sent, status_of, until
from difflab.experiment.evaluation import job as evaluation
from difflab.experiment.store import files, weights
from difflab.experiment.training import fitting
from difflab.experiment.training.callback.pictures import Pictures
from difflab.experiment.training.callback.progress import RunProgress
from helpers.jobs import the_run

KILL, TERM, INT = signal.SIGKILL, signal.SIGTERM, signal.SIGINT
SOON = 10.0  # seconds in which a signal must end a command
LONG = (*WORDS[:-1], "nfe=1000", "protocol.n=4096", "paradigm=rectified_flow")  # of which the drawing takes a while


def half_written() -> None:
    """A fault: the process is killed as it has written half of its second checkpoint."""
    save, calls = torch.save, []

    def inner(state: Any, path: Any, *args: Any, **more: Any) -> None:
        save(state, path, *args, **more)
        calls.append(path)
        if len(calls) == 2:
            if isinstance(path, str | Path):
                os.truncate(path, Path(path).stat().st_size // 2)
            os.kill(os.getpid(), KILL)

    vars(torch)["save"] = inner


def ends_with(path: str) -> Callable[..., bool]:
    """Whether the first argument is a file of such a name."""
    return lambda first, *_: path in str(first)


MOMENTS = [
    (name, fault, signum)
    for signum in (KILL, TERM, INT)
    for name, fault in (
        ("in the last step", sent(RunProgress, "on_train_batch_end", signum, at_step(30))),
        ("in the last validation", sent(Pictures, "on_validation_end", signum, at_step(30))),
        ("between checkpoint and export", sent(fitting.Fit, "export", signum)),
        ("between weights and their JSON", sent(weights, "write_json", signum)),
        ("between a written checkpoint and its name", sent(files, "sync", signum, ends_with(".last.ckpt."))),
        ("before the result is written", sent(fitting, "write_json", signum)),
        ("between measuring and its file", sent(evaluation, "write_json", signum)),
    )
]


def at_moment(fault: Callable[[], None], signum: int, folder: Path) -> str:
    """Stop the training at a moment, and go on."""
    status, _ = done("train", *WORDS, cwd=folder, fault=fault)
    return f"{status}, {again(folder, *WORDS)}"


def in_time(process: Started, signum: int) -> str:
    """The status that a signal ends a process with, and whether it took seconds only."""
    start = time.monotonic()
    process.send_signal(signum)
    status, _ = process.end()
    took = time.monotonic() - start
    return f"{status} within seconds" if took < SOON else f"{status} after {took:.0f} s"


def measuring(signum: int, folder: Path) -> str:
    """Stop a command as it draws samples to measure."""
    process = Started("evaluate", *LONG, cwd=folder)
    until(lambda: [*folder.glob("runs/*/result.json")], process)
    time.sleep(2.0)
    if process.poll() is not None:
        return f"ended too early: {process.end()[1]}"
    return in_time(process, signum)


def waiting(signum: int, folder: Path) -> str:
    """Stop a command that waits for the lock of another, which is not disturbed."""
    words = (*WORDS, "images=64000", "check_every=6400")
    first = Started("train", *words, cwd=folder)
    until(lambda: [*folder.glob("runs/*/checkpoints/last.ckpt")], first)
    second = Started("train", *words, cwd=folder)
    until(lambda: "waiting for it" in Path(f"/proc/self/fd/{second.said.fileno()}").read_text(), second)
    seen = in_time(second, signum)
    status, said = done("train", *words, cwd=folder)
    alone, _ = first.end()
    return f"{seen}; the first {alone}, the same command {status}" + ("" if the_run(folder).result else f": {said}")


def cases() -> Iterator[Case]:
    """All of them, by each signal."""
    for name, fault, signum in MOMENTS:
        expected = f"{status_of(signum)}, goes on, equal"
        yield Case(f"{signal.Signals(signum).name} {name}", expected, partial(at_moment, fault, signum))
    yield Case("SIGKILL in writing a checkpoint", "-9, goes on, equal", partial(at_moment, half_written, KILL))
    for signum in (TERM, INT):
        name, soon = signal.Signals(signum).name, f"{status_of(signum)} within seconds"
        yield Case(f"{name} while measuring", soon, partial(measuring, signum))
    for signum in (KILL, TERM, INT):
        soon = f"{status_of(signum)} within seconds; the first 0, the same command 0"
        yield Case(f"{signal.Signals(signum).name} while it waits for a lock", soon, partial(waiting, signum))
