"""What sampling costs: network evaluations, counted or foreseen, and the time that the networks take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from difflab.denoiser.base import AnyDenoiser, Denoise, Estimate
from difflab.process.schedule import Schedule
from difflab.process.tabulated import Tabulated


def networks(denoiser: nn.Module) -> list[nn.Module]:
    """The networks inside, each call of which is a network evaluation."""
    return [module for module in denoiser.modules() if getattr(module, "is_network", False)]


@contextmanager
def tabulated(denoiser: nn.Module, times: Tensor) -> Iterator[None]:
    """Have the denoisers inside compute once what depends on the `times` of a loop alone: see `Tabulated`."""
    tables: list[Tabulated] = []
    before: list[tuple[dict[str, Any], Schedule | None]] = []
    for module in denoiser.modules():
        schedule = getattr(module, "schedule", None)
        if schedule is None or isinstance(schedule, Tabulated):
            continue
        table = next((each for each in tables if each == schedule), None)
        if table is None:
            tables.append(table := Tabulated(schedule, times))
        before.append((vars(module), vars(module).get("schedule")))  # None: it learns, and is a submodule
        vars(module)["schedule"] = table
    try:
        yield
    finally:
        for attributes, schedule in before:
            if schedule is None:
                del attributes["schedule"]
            else:
                attributes["schedule"] = schedule


@contextmanager
def counting(denoiser: nn.Module) -> Iterator[list[int]]:
    """Collect the batch size of every evaluation of the networks inside: their sum is the number of evaluations."""
    rows: list[int] = []
    hooks = [n.register_forward_hook(lambda _n, args, _out: rows.append(args[0].shape[0])) for n in networks(denoiser)]
    try:
        yield rows
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def timing(denoiser: AnyDenoiser) -> Iterator[Callable[[], float]]:
    """Time the forward passes of the networks inside; the seconds so far.

    On an accelerator by its own events: there the host only queues the work.
    """
    device = denoiser.device
    entered: list[Any] = []
    passes: list[tuple[Any, Any]] = []

    def mark() -> Any:  # noqa: ANN401  # a time, or an event of any accelerator
        if device.type == "cpu":
            return time.perf_counter()
        event = torch.Event(device, enable_timing=True)
        event.record()
        return event

    def seconds() -> float:
        if device.type == "cpu":
            return float(sum(end - start for start, end in passes))
        torch.accelerator.synchronize()
        return float(sum(start.elapsed_time(end) for start, end in passes)) / 1000

    hooks = []
    for network in networks(denoiser):
        hooks.append(network.register_forward_pre_hook(lambda _n, _args: entered.append(mark())))
        hooks.append(network.register_forward_hook(lambda _n, _args, _out: passes.append((entered.pop(), mark()))))
    try:
        yield seconds
    finally:
        for hook in hooks:
            hook.remove()


class CountingProbe:
    """Stand-in that returns zeros and counts network evaluations, for dry runs."""

    def __init__(self, denoiser: AnyDenoiser) -> None:
        self.denoiser, self.schedule, self.nfe = denoiser, denoiser.schedule, 0

    def __call__(self, x: Tensor, t: Tensor, s: Tensor | None = None) -> Estimate:
        """An estimate of zeros."""
        self.nfe += self.denoiser.nfe(t)
        nothing = torch.zeros_like(x)
        return Estimate(nothing, nothing, nothing, nothing)


class Recorder:
    """A `Denoise` that remembers the estimates of x0 that went through it."""

    def __init__(self, denoise: Denoise) -> None:
        self.denoise = denoise
        self.estimates: list[Tensor] = []

    @property
    def schedule(self) -> Schedule:
        """The schedule that times refer to."""
        return self.denoise.schedule

    def __call__(self, x: Tensor, t: Tensor, s: Tensor | None = None) -> Estimate:
        """The estimate."""
        estimate = self.denoise(x, t, s)
        self.estimates.append(estimate.x0.cpu())
        return estimate
