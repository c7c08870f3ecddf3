"""Trainings in processes of their own, apart from those of another job."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from difflab.experiment.search_path import in_full

GROUP = ("LOCAL_RANK", "RANK", "WORLD_SIZE", "NODE_RANK", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")


def launcher(config: Mapping[str, Any], words: Sequence[str]) -> Callable[[], None] | None:
    """What runs `difflab WORDS` in processes of its own, if the configuration's training takes several.

    For a job that shares its process with others. Lightning starts the other processes of a job by the words of this
    process's command, and leaves the addresses of the group in the environment.
    """
    return None if config["trainer"]["devices"] == 1 else partial(run_apart, words)


def run_apart(words: Sequence[str]) -> None:
    """Run `difflab WORDS` as a command of its own. Raises SystemExit if it fails, or after a signal."""
    environment = {key: value for key, value in os.environ.items() if key not in GROUP}
    with subprocess.Popen([sys.executable, "-m", "difflab", *in_full(words)], env=environment) as group:
        signals = (signal.SIGINT, signal.SIGTERM)  # the group acts on them: it saves what it has
        before = {number: signal.signal(number, lambda n, _: group.send_signal(n)) for number in signals}
        try:
            status = group.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    if status in (130, 143):
        raise SystemExit(status)
    if status:
        raise SystemExit(f"difflab {words[0]}: its processes ended with status {status}")
