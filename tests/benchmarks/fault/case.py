"""A case of the fault matrix, and what all of them need: a tiny run, its command in a process, and a comparison."""

from __future__ import annotations

import importlib
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from helpers.equal import content, unlike
from helpers.jobs import TOY, Forked, the_run
from helpers.processes import running

WORDS = (*TOY, "images=1920", "check_every=640", "nfe=4")  # 30 steps, validated after each 10
CALLS = 3  # of the same command, in which it must come to its end
SHOWN = 8  # places that differ, in a report
HANG = 300.0  # seconds after which a process is said to hang
WARM = ("cli.evaluate", "cli.report", "cli.sample", "cli.train", "experiment.jobs", "report.output", "report.study")
LEFT = 60.0  # seconds that other processes have to end after the one that was stopped


for name in WARM:  # imports are most of a start, and processes begin with what this one has imported
    importlib.import_module(f"difflab.{name}")


@dataclass(frozen=True)
class Case:
    """A fault, what is expected, and how it is made to happen in an empty folder; that returns what was seen."""

    name: str
    expected: str
    seen: Callable[[Path], str]


class Started(Forked):  # type: ignore[misc]  # the helpers of the tests have no types
    """A command in a process of its own, in which `fault` is called first."""

    def __init__(self, command: str, *words: str, cwd: Path, fault: Callable[[], object] | None = None) -> None:
        self.fault = fault
        super().__init__(command, *words, cwd=cwd)

    def run(self, command: str, words: tuple[str, ...], cwd: Path, source: None, served: bool) -> None:
        """What the process does."""
        if self.fault:
            self.fault()
        super().run(command, words, cwd, source, served)

    def end(self) -> tuple[int | str, str]:
        """Its status, or that it hangs, and what it said."""
        self.process.join(HANG)
        status = self.returncode
        if status is None:
            self.kill()
        return "hangs" if status is None else status, self.communicate()[0]


def done(command: str, *words: str, cwd: Path, fault: Callable[[], object] | None = None) -> tuple[int | str, str]:
    """The status and the words of a command that is left to end by itself."""
    return Started(command, *words, cwd=cwd, fault=fault).end()


def goes_on(folder: Path, *words: str, command: str = "train") -> str:
    """What the same command comes to, given again as often as it may be; what it says of W&B is printed."""
    said = ""
    for _ in range(CALLS):
        status, said = done(command, *words, cwd=folder)
        print(*(line for line in said.splitlines() if "W&B" in line), sep="\n", end="")
        if status == 0:
            return "goes on"
    return f"does not go on: {last_line(said)}"


def last_line(said: str) -> str:
    """The last line that has a word."""
    return next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "nothing said")


@cache
def uninterrupted(words: tuple[str, ...]) -> Mapping[str, Any]:
    """The content of a run that nothing has disturbed."""
    with tempfile.TemporaryDirectory() as folder:
        status, said = done("train", *words, cwd=Path(folder))
        if status:
            raise RuntimeError(f"the run without a fault fails: {said}")
        found: dict[str, Any] = content(the_run(folder))
        return found


def compared(folder: Path, *words: str) -> str:
    """Whether the only run of a folder is equal to the uninterrupted one of the same words, or what differs."""
    return differences(content(the_run(folder)), uninterrupted(words))


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """Where the contents of two runs differ."""
    different = [place.strip() for place in unlike({key: ours[key] for key in theirs}, theirs)]
    more = f"; and {len(different) - SHOWN} more" * (len(different) > SHOWN)
    return f"differs: {'; '.join(different[:SHOWN])}{more}" if different else "equal"


def again(folder: Path, *words: str) -> str:
    """Whether the same training goes on after a fault, and comes to the same."""
    found = goes_on(folder, *words)
    return f"{found}, {compared(folder, *words)}" if found == "goes on" else found


def in_one_line(status: int | str, said: str, *expected: str) -> str:
    """Whether a command was refused in one line without a traceback, in which some words are."""
    line = last_line(said)
    if "Traceback" in said:
        return f"{status}, a traceback: {line}"
    missing = [word for word in expected if word not in line]
    return f"{status}, one line" if not missing else f"{status}, without {missing}: {line}"


def told(said: str, *expected: str) -> str:
    """Whether some words were said."""
    missing = [word for word in expected if word not in said]
    return "told" if not missing else f"not told {missing}: {last_line(said)}"


def sent(owner: Any, name: str, signum: int, when: Callable[..., bool] = lambda *_: True) -> Callable[[], None]:
    """A fault: the process gets a signal as it calls a function, once, when `when` says so of the arguments."""

    def fault() -> None:
        function = getattr(owner, name)
        came: list[int] = []

        def inner(*args: Any, **more: Any) -> Any:
            if not came and when(*args):
                came.append(signum)
                os.kill(os.getpid(), signum)
            return function(*args, **more)

        setattr(owner, name, inner)

    return fault


def at_step(step: int) -> Callable[..., bool]:
    """Whether a hook of a callback is called when so many steps are done."""
    return lambda hook, trainer, *_: bool(trainer.global_step == step and trainer.state.fn == "fit")


def status_of(signum: int) -> int:
    """The status that a signal is to end a command with."""
    return -9 if signum == signal.SIGKILL else 128 + signum


def left_over(folder: Path) -> str:
    """Whether no process works in a folder after a while."""
    until = time.monotonic() + LEFT
    while (found := running(folder)) and time.monotonic() < until:
        time.sleep(0.1)
    return f"{len(found)} processes left" if found else "none left"


def until(there: Callable[[], object], process: Any) -> None:  # a Popen or Forked
    """Wait for something that a process brings about."""
    limit = time.monotonic() + HANG
    while not there():
        if process.poll() is not None or time.monotonic() > limit:
            raise RuntimeError(f"ended too early, or hangs: {process.communicate(timeout=1)[0]}")
        time.sleep(0.01)


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Variables of the environment that are set in a block."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
