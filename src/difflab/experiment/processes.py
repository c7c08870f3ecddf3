"""A job on several processes: difflab starts them, or torchrun or SLURM has. They meet once, and end together."""

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
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    LSFEnvironment,
    MPIEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from lightning.fabric.utilities.rank_zero import rank_zero_only
from torch import Tensor

from difflab.experiment.errors import UserError
from difflab.experiment.search_path import Outside, outside, using
from difflab.experiment.signals import STOPS, Interrupted, answer, asking, handled, own_group, stop, stop_when
from difflab.paradigm.batch import place

T = TypeVar("T")
METHOD = "forkserver" if "forkserver" in mp.get_all_start_methods() else "spawn"
STARTERS = (SLURMEnvironment, TorchElasticEnvironment, LSFEnvironment, MPIEnvironment)
# By these, torchrun and others tell a process its place; processes that difflab starts are told otherwise.
PLACES = ["RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "NODE_RANK", "GROUP_RANK", "MASTER_ADDR"]
PLACES += ["MASTER_PORT", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_USE_AGENT_STORE"]
PATIENCE = 5.0  # seconds that the others have to end by themselves when one process has failed


def rank() -> int:
    """The place of this process in its job; 0 is the first, which writes and speaks."""
    return place()[0]


def agreed(value: Callable[[], T]) -> T:
    """What the first process of the job finds, in all of them. Also the UserError that it raises."""
    if place()[1] == 1:
        return value()
    found: list[Any] = [None, None]
    if not rank():
        try:
            found[0] = value()
        except UserError as error:
            found[1] = str(error)
    dist.broadcast_object_list(found, src=0, device=torch.device("cpu"))
    if found[1] is not None:
        raise UserError(found[1])
    result: T = found[0]
    return result


def dealt(n: int, size: int) -> list[Tensor]:
    """The indices in 0..n - 1 of this process, in batches of `size`, or fewer where that leaves a process without one.

    Batches are dealt in turn, so that they are those of one process, as long as each process gets one.
    """
    me, world = place()
    return [*torch.split(torch.arange(n), max(1, min(size, -(-n // world))))[me::world]]


def everyone(value: T) -> list[T]:
    """The values of all processes, which are plain, in the order of rank."""
    found: list[Any] = [value] * place()[1]
    if len(found) > 1:
        dist.all_gather_object(found, value)
    return found


def environment() -> ClusterEnvironment:
    """What has started the processes of this job: torchrun, SLURM or another; Lightning's own where nothing has."""
    for kind in STARTERS:
        if kind.detect() and (found := kind()).world_size() > 1:
            return found
    return LightningEnvironment()


def meet(devices: Sequence[torch.device], nodes: int) -> None:
    """Meet the other processes of the job, if torchrun, SLURM or another has started some; once in a process.

    Raises UserError where that started another number than the job is for.
    """
    starter = environment()
    external = not isinstance(starter, LightningEnvironment)
    started = starter.world_size() if external else place()[1]
    wanted = len(devices) * nodes
    if started not in (1, wanted) or (started == 1 and nodes > 1):
        raise UserError(
            f"{started} processes were started, and trainer.devices={len(devices)} on trainer.num_nodes={nodes} make "
            f"{wanted}: give trainer.devices the processes of a host, and start them by torchrun or srun on each"
        )
    if external and not dist.is_initialized():
        with_store = isinstance(starter, TorchElasticEnvironment)
        address = "env://" if with_store else f"tcp://{starter.main_address}:{starter.main_port}"
        join(devices[starter.local_rank()], starter.global_rank(), starter.world_size(), init_method=address)


def join(device: torch.device, rank: int, world: int, **meeting: Any) -> None:  # noqa: ANN401  # torch's arguments
    """Make this process one of a job's, at its device. All but the first print nothing."""
    backend = "gloo"
    if device.type != "cpu":
        torch.accelerator.set_device_index(device)
        backend = f"cpu:gloo,{device.type}:{dist.get_default_backend_for_device(device)}"
    vars(rank_zero_only)["rank"] = rank  # of Lightning's messages
    if rank:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # for the rest of the process
    dist.init_process_group(backend, rank=rank, world_size=world, **meeting)


def several(devices: Sequence[torch.device]) -> bool:
    """Whether a job on these devices needs processes beside this one, which are still to be started."""
    return len(devices) > 1 and place()[1] == 1


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
    """Start processes without what they would be told of this one: its program, and its way of starting others.

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
