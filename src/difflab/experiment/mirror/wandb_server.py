"""W&B's server: whether it is asked, how long it is waited for, and that nothing fails if it does."""

from __future__ import annotations

import logging
import netrc
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, nullcontext
from typing import Literal, cast
from urllib.parse import urlparse

import wandb

from difflab.experiment.machine.terminal import after
from difflab.experiment.mirror.wandb_job import outside_sweep, redacted

log = logging.getLogger(__name__)

Mode = Literal["online", "offline", "disabled", "shared"]

OWN = ("api.forge.coreweave.com", "api.wandb.ai")  # two names of W&B's own server: a key for one serves both
PATIENCE = 3.0  # seconds of waiting for a server after which that is said
FAILED: set[str] = set()  # servers that have failed in this process: its further jobs do not wait for them


def attempt(action: Callable[[], object]) -> bool:
    """Whether W&B could do this; the job goes on in any case."""
    try:
        action()
    except Exception as error:
        log.warning("W&B failed, the files go on: %s", error)
        return False
    return True


def finish(run: wandb.Run, exit_code: int) -> bool:
    """Send what is left of a run, and close it: whether W&B could. What is not sent in a minute stays on disk."""
    where = server()
    waiting = f"waiting for {where} to take the rest of {run.name}, at most 60 s; `wandb sync` can do it later"
    with said_while_waiting(waiting) if not run.offline else nullcontext():
        done = attempt(lambda: run.finish(exit_code=exit_code))
    FAILED.update([where] if not done and not run.offline else [])
    return done


def hide_secrets(run: wandb.Run, secrets: Collection[str]) -> None:
    """Have the printed text that goes to W&B pass through `redacted` first."""
    send = run._console_raw_callback  # there is no public hook

    def send_redacted(stream: str, text: str) -> None:
        send(stream, redacted(text, secrets))

    run._console_raw_callback = send_redacted  # type: ignore[assignment,method-assign]  # of this one run


@contextmanager
def said_while_waiting(what: str) -> Iterator[None]:
    """Say what is waited for, once it takes more than a moment."""
    with after(PATIENCE, lambda: print(f"W&B: {what}", flush=True)):
        yield


def server() -> str:
    """The address of W&B's server."""
    with outside_sweep():
        return str(wandb.setup().settings.base_url)


def mode() -> Mode:
    """What WANDB_MODE says, else online where there is a key for the server, in the environment or in ~/.netrc.

    Offline in place of online where the server has failed in this process.
    """
    said = os.environ.get("WANDB_MODE")
    found = cast(Mode, said) if said else "online" if known_to(urlparse(server()).hostname or "") else "offline"
    return "offline" if found == "online" and server() in FAILED else found


def known_to(server: str) -> bool:
    """Whether there is a key for a server, in the environment or in ~/.netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        stored = netrc.netrc(os.environ.get("NETRC"))
    except (OSError, netrc.NetrcParseError):
        return False
    return any(stored.authenticators(name) for name in (OWN if server in OWN else (server,)))
