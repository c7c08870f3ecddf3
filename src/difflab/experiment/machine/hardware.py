"""What this machine can do: its devices, the precision that is fast, and memory that stays with the process."""

from __future__ import annotations

import ctypes
import getpass
import os
import platform
import resource
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
CLAIMED: list[FileLock] = []  # by this process
PRECISIONS = ("auto", "bf16", "fp32")


def keep_heap() -> None:
    """Let glibc keep freed memory instead of returning large tensors to the system at each step; before torch loads."""
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, 1 << 30)
        mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)


def best_device(accelerator: str = "auto") -> torch.device:
    """The accelerator of this process if there is one and `accelerator` is not "cpu", else the CPU."""
    import torch

    if accelerator == "cpu":
        return torch.device("cpu")
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


@cache
def claim_accelerators(devices: object) -> None:
    """Leave this process so many of the accelerators of this host, other ones than other processes have if there are.

    For the processes of a launcher, each of which would take the first ones; each keeps what it has to its end. Does
    nothing where `devices` is no number, and where there are no more of them than it asks for.
    """
    import torch

    total = torch.cuda.device_count()  # which does not start CUDA
    if not isinstance(devices, int) or not 0 < devices < total:
        return
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(total)))).split(",")
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(claimed(visible, devices))


def claimed(names: Sequence[str], count: int) -> list[str]:
    """So many of the names: those that no other process of this host has claimed first. They are kept to the end."""
    free: list[str] = []
    taken: list[str] = []
    for name in names:
        lock = FileLock(Path(tempfile.gettempdir(), f"difflab-{getpass.getuser()}-accelerator-{name}.lock"))
        try:
            if len(free) < count:
                lock.acquire(timeout=0)
                CLAIMED.append(lock)
                free.append(name)
        except Timeout:
            taken.append(name)
    return [*free, *taken][:count]


def settle_precision(precision: str, device: torch.device) -> str:
    """`bf16` or `fp32`: "auto" is bf16 where the hardware has it. Raises ValueError for other words."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision={precision} is none of {', '.join(PRECISIONS)}")
    from difflab.paradigm.bf16 import has_bf16  # here, as commands that only compose need no torch

    return {"auto": "bf16" if has_bf16(device) else "fp32"}.get(precision, precision)


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """Run the network in the given precision; weights and sampler state stay in fp32."""
    import torch

    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


@contextmanager
def casts_kept(network: torch.nn.Module) -> Iterator[None]:
    """Let autocast keep the weights that it has cast until its block ends, for a frozen network that is only applied.

    It casts frozen weights anew at each call, and keeps those that could be trained.
    """
    frozen = [p for p in network.parameters() if not p.requires_grad]
    try:
        for p in frozen:
            p.requires_grad_(True)
        yield
    finally:
        for p in frozen:
            p.requires_grad_(False)


def device_name(device: torch.device) -> str:
    """What times are to be compared on: the accelerator's name, or how many threads of which machine."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {platform.machine()}, {torch.get_num_threads()} threads"


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Callable[[], int]]:
    """The most bytes in use at once since now: of the accelerator's memory, or on a CPU of this process's.

    Where the system keeps no such mark, as only Linux does, the process's since its start.
    """
    import torch

    if device.type != "cpu":
        torch.accelerator.reset_peak_memory_stats(device)
        yield lambda: int(torch.accelerator.max_memory_allocated(device))
        return
    mark, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")
    try:
        mark.write_text("5")
    except OSError:
        unit = 1 if platform.system() == "Darwin" else 1024
        yield lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    else:
        yield lambda: int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024
