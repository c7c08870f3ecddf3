"""Speeds by interleaved windows: every case in turn, many times, so that all see the same disturbances."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Case:
    """Something that takes time: `action` does so many `units`, of `flop` floating-point operations each.

    `beside` names the case whose time is taken off, as the network's from a sampler's loop.
    """

    name: str
    action: Callable[[], object]
    units: float = 1.0
    flop: float = 0.0
    beside: str = ""


@dataclass(frozen=True)
class Speed:
    """Seconds of a unit: the median over windows, and the distance between the quartiles as a share of it."""

    seconds: float
    spread: float
    flop_per_s: float = 0.0


def operations(action: Callable[[], object]) -> float:
    """The floating-point operations of an action, as torch counts them."""
    with FlopCounterMode(display=False) as counter:
        action()
    return float(counter.get_total_flops())


def wait() -> None:
    """Until the accelerator has done what it was given, if there is one."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def window(case: Case, seconds: float, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of a unit, over calls that take `seconds` together, or one call."""
    calls, start = 0, clock()
    while not calls or clock() - start < seconds:
        case.action()
        calls += 1
        wait()
    return (clock() - start) / calls / case.units


def problem(case: Case) -> tuple[str, str] | None:
    """Why a case cannot be measured, as where there is no compiler."""
    try:
        case.action()
    except Exception as error:
        return case.name, f"FAILED: {type(error).__name__}: {(str(error).splitlines() or [''])[0][:80]}"
    return None


def speeds(
    cases: Sequence[Case], rounds: int, seconds: float, clock: Callable[[], float] = time.perf_counter
) -> dict[str, Speed]:
    """The speed of each case, after a call of each to warm up."""
    found: dict[str, list[float]] = {case.name: [] for case in cases}
    for case in cases:
        case.action()
    for _ in range(rounds):
        for case in cases:
            found[case.name].append(window(case, seconds, clock))
    return {case.name: speed(case, found) for case in cases}


def speed(case: Case, found: dict[str, list[float]]) -> Speed:
    """From the windows of a case, less those of the case beside it in the same rounds."""
    times = found[case.name]
    if case.beside:
        times = [max(0.0, own - other) for own, other in zip(times, found[case.beside], strict=True)]
    median = statistics.median(times)
    low, _, high = statistics.quantiles(times, n=4) if len(times) > 1 else (median,) * 3
    return Speed(median, (high - low) / median if median else 0.0, case.flop / median if median else 0.0)
