"""A W&B server that is gone, refuses, or hangs in the midst of a training."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.fault.case import WORDS, Case, Started, compared, environment, last_line, until
from helpers.wandb_server import wandb_server

ONLINE = (*(word for word in WORDS if word != "logger=local"), "images=19200", "check_every=6400")
LOCAL = (*WORDS, "images=19200", "check_every=6400")
BOUND = 150.0  # seconds that a server which is gone may cost: 30 to answer, 60 to take the rest, twice
WAITING = "W&B: waiting for"


def serve(address: Connection) -> None:
    """A server in a process of its own, which can be ended or stopped."""
    with wandb_server() as server:
        address.send(server.environment)
        while True:
            time.sleep(60.0)


def disturbed(fault: Callable[[Any], None], folder: Path) -> str:
    """Train with W&B, disturb its server once the first state is saved; what is said, and how long it takes."""
    ours, theirs = get_context("fork").Pipe()
    server = get_context("fork").Process(target=serve, args=(theirs,))
    server.start()
    try:
        with environment(ours.recv()):
            process = Started("train", *ONLINE, cwd=folder)
            until(lambda: [*folder.glob("runs/*/checkpoints/last.ckpt")], process)
            start = time.monotonic()
            fault(server)
            status, said = process.end()
            took = time.monotonic() - start
    finally:
        server.kill()
    said_so = [line for line in said.splitlines() if "W&B" in line]
    print(*said_so, f"{took:.0f} s", sep="\n    ", flush=True)
    equal = compared(folder, *LOCAL) if status == 0 else last_line(said)
    return f"{status}, {'told' if said_so else 'not told'}, {'in time' if took < BOUND else f'{took:.0f} s'}, {equal}"


def cases() -> Iterator[Case]:
    """A server that ends, and one that answers no more."""
    for name, fault in (
        ("is gone", lambda server: server.kill()),
        ("hangs", lambda server: os.kill(server.pid, signal.SIGSTOP)),
    ):
        yield Case(f"W&B's server {name} in mid-run", "0, told, in time, equal", partial(disturbed, fault))
