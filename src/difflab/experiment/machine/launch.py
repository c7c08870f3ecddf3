"""Start the processes of a job: they do its work together, end together, and give its result back."""

from __future__ import annotations

import json
import multiprocessing as mp
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from types import FrameType, ModuleType
from typing import Any

import torch
import torch.distributed as dist

from difflab.experiment.machine.processes import join
from difflab.experiment.machine.signals import STOPS, Interrupted, answer, asking, handled, own_group, stop, stop_when
from difflab.experiment.parts.errors import UserError
from difflab.experiment.parts.search_path import Outside, outside, using

METHOD = "forkserver" if "forkserver" in mp.get_all_start_methods() else "spawn"
# By these, torchrun and others give a process its place; processes that difflab starts learn it in another way.
PLACES = ["RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "NODE_RANK", "GROUP_RANK", "MASTER_ADDR"]
PLACES += ["MASTER_PORT", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_USE_AGENT_STORE"]
PATIENCE = 5.0  # seconds that the others have to end by themselves when one process has failed


def together(devices: Sequence[torch.device], job: Callable[..., Any], *args: object) -> Any:  # noqa: ANN401
    """Run `job(*args)` in a process for each device; return what it returns in the first of them, as plain values.

    `job` is a function of a module, and `args` are plain values. A signal to this process is passed on to the others;
    then, or where they stop at a signal of their own, SystemExit is raised. If one of them fails, the others are ended:
    UserError is raised, and its traceback printed unless it was a UserError. If this process dies, so do they, as after
    SIGTERM.
    """
    context: Any = mp.get_context(METHOD)
    if METHOD == "forkserver":
        context.set_forkserver_preload(["difflab.experiment.jobs"])  # imports are most of a start
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    settings = {key: value for key, value in os.environ.items() if key not in PLACES}
    names = [str(device) for device in devices]
    known = names, store.port, settings, outside(), job, args
    members = [context.Process(target=member, args=(k, *known)) for k in range(len(devices))]
    with passed_on(members) as received:
        with untold():
            for each in members:
                each.start()
        ended = end_together(members)
    if received:
        answer(received[0])
    outcomes = [json.loads(store.get(str(k))) if store.check([str(k)]) else {} for k in range(len(members))]
    for k, each in enumerate(members):
        if each in ended and each.exitcode and not outcomes[k]:  # it had no time to say why
            how = f"by {signal.Signals(-each.exitcode).name}" if each.exitcode < 0 else f"with status {each.exitcode}"
            raise UserError(f"process {k} of {len(members)} was ended {how}; the same command goes on")
    ends = [k for k, outcome in enumerate(outcomes) if outcome and "found" not in outcome]
    if not ends:
        return outcomes[0]["found"]
    k = min(ends, key=lambda k: outcomes[k]["time"])  # the others ended because of it
    match outcomes[k]:
        case {"refusal": reason}:
            raise UserError(reason)
        case {"trace": trace, "error": error}:
            print(trace, file=sys.stderr, flush=True)
            raise UserError(f"process {k} of {len(members)} failed: {error}")
        case {"status": status}:
            raise SystemExit(status)


@contextmanager
def untold() -> Iterator[None]:
    """Start processes without what they would inherit of this one: its program, and its way of starting others.

    A user's program would begin its work again when they import it, and joblib's way is none of theirs.
    """
    program, method = sys.modules["__main__"], mp.get_start_method()
    sys.modules["__main__"] = ModuleType("__main__")
    mp.set_start_method(METHOD, force=True)
    try:
        yield
    finally:
        sys.modules["__main__"] = program
        mp.set_start_method(method, force=True)


def member(
    k: int,
    devices: Sequence[str],
    port: int,
    settings: Mapping[str, str],
    on: Outside,
    job: Callable[..., object],
    args: Sequence[object],
) -> None:
    """The k-th process of a job: meet the others, do the job, and leave in the store what came of it."""
    os.environ.clear()  # of the fork server's start
    os.environ.update(settings, LOCAL_RANK=str(k), NODE_RANK="0")
    own_group()
    parent = mp.parent_process()
    stop_when(lambda: parent is not None and not parent.is_alive())
    signal.signal(signal.SIGTERM, stop)
    store = dist.TCPStore("127.0.0.1", port, is_master=False)
    outcome: dict[str, Any] = {}
    try:
        torch.set_num_threads(max(1, torch.get_num_threads() // len(devices)))
        join(torch.device(devices[k]), k, len(devices), store=dist.PrefixStore("group", store))
        with using(on):
            outcome = {"found": job(*args)}
    except Interrupted as end:  # in all processes: none has failed
        outcome = {"status": end.code}
    except KeyboardInterrupt:
        outcome = {"status": 128 + signal.SIGINT}
        raise SystemExit(128 + signal.SIGINT) from None
    except SystemExit as end:
        outcome = {"status": end.code}
        raise
    except UserError as refusal:
        outcome = {"refusal": str(refusal)}
        sys.exit(1)
    except BaseException as error:
        outcome = {"trace": traceback.format_exc(), "error": f"{type(error).__name__}: {error}".splitlines()[0]}
        sys.exit(1)
    finally:
        with suppress(RuntimeError):  # the parent is gone, and its store
            store.set(str(k), json.dumps({**outcome, "time": time.time()}))
        if dist.is_initialized():
            dist.destroy_process_group()


def end_together(members: Sequence[BaseProcess]) -> list[BaseProcess]:
    """Wait for processes; when one of them fails the others have a few seconds to end, and are killed.

    Returns those that ended by themselves.
    """
    ended = [*members]
    while alive := [each for each in members if each.is_alive()]:
        wait([each.sentinel for each in alive])
        if any(each.exitcode for each in members):
            wait_for(members)
            ended = [each for each in members if not each.is_alive()]
            for ask in (BaseProcess.terminate, BaseProcess.kill):
                for each in members:
                    if each.is_alive():
                        ask(each)
                wait_for(members)
    return ended


def wait_for(members: Sequence[BaseProcess]) -> None:
    """Give processes a few seconds to end."""
    until = time.monotonic() + PATIENCE
    for each in members:
        each.join(max(0.0, until - time.monotonic()))


@contextmanager
def passed_on(members: Sequence[BaseProcess]) -> Iterator[list[int]]:
    """Pass on to processes what asks this one to stop; the list has the signals that came."""
    received: list[int] = []

    def pass_on(signum: int, frame: FrameType | None) -> None:
        received.append(signum)
        for each in members:
            if each.pid and each.is_alive():
                with suppress(ProcessLookupError):
                    os.kill(each.pid, signum if signum in STOPS else signal.SIGTERM)

    with handled(pass_on, *asking()):
        yield received
