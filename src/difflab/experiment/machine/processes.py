"""What a process knows of the others of its job, which difflab has started, or torchrun or SLURM: they meet once."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
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

from difflab.experiment.parts.errors import UserError
from difflab.paradigm.batch import place

T = TypeVar("T")
STARTERS = (SLURMEnvironment, TorchElasticEnvironment, LSFEnvironment, MPIEnvironment)


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


def gather_rows(samples: Tensor, mine: Tensor, wanted: Tensor) -> Tensor:
    """The samples with the indices `wanted`, in this order, from all processes: those of this one have `mine`."""
    here = torch.isin(mine, wanted)
    parts = everyone((mine[here], samples[here]))
    k, x = torch.cat([k for k, _ in parts]), torch.cat([x for _, x in parts])
    row = torch.empty(int(wanted.max()) + 1, dtype=torch.int64)
    row[k] = torch.arange(len(k))
    return x[row[wanted]]


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
            f"processes that were started: {started}; that trainer.devices={len(devices)} on trainer.num_nodes={nodes} "
            f"need: {wanted}. Give trainer.devices the processes of a host, and start them by torchrun or srun on each"
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
