"""`difflab-train`: train a run, measure it, and print what was found. What is done already is not done again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from difflab.cli.command import Context, Found, main_of, words_of
from difflab.experiment.hardware import keep_heap

if TYPE_CHECKING:
    from difflab.experiment.jobs import Requested

GROUP = ("LOCAL_RANK", "RANK", "WORLD_SIZE", "NODE_RANK", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")


def train(config: dict[str, Any], context: Context, requested: Requested = "train") -> Found:
    """Train and measure what the configuration says; print what was found, unless that goes into a sweep's table."""
    keep_heap()  # before torch loads
    from difflab.cli.console import show_result
    from difflab.experiment import jobs

    several = context.multirun and config["trainer"]["devices"] != 1
    found = jobs.train(config, requested, partial(in_a_group_of_its_own, context) if several else None)
    if found and "plan" not in found and not context.multirun:
        show_result(found)
    return found


def in_a_group_of_its_own(context: Context) -> None:
    """Do this job of a multirun as a command of its own, so that its processes meet each other and no other job's.

    Lightning starts them by the words of the command, which for a multirun are those of all the jobs.
    """
    environment = {key: value for key, value in os.environ.items() if key not in GROUP}
    command = [sys.executable, "-m", "difflab", "train", *context.words, "hydra.mode=RUN"]
    with subprocess.Popen(command, env=environment) as group:
        signals = (signal.SIGINT, signal.SIGTERM)  # theirs to act on: they save what they have
        before = {number: signal.signal(number, lambda n, _: group.send_signal(n)) for number in signals}
        try:
            status = group.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    if status in (130, 143):
        raise SystemExit(status)
    if status:
        raise SystemExit(f"{context.program}: its processes ended with status {status}")


def main(argv: Sequence[str] | None = None) -> None:
    """The console script; `argv` begins with the name of the program."""
    program, words = words_of(argv)
    main_of(program, "train", words, train)


if __name__ == "__main__":
    main()
