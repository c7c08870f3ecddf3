"""How fast difflab is: `python -m benchmarks.speed` prints a table, and writes speed.json and speed.png.

Windows of about a second of every case in turn, in a process for each setting of the allocator; the ceilings of the
machine in the same run. A speed.json that is there is what the new numbers are compared with.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from benchmarks.cases import SMALL, Sizes, loop_cases, network_cases, score_cases, toy_cases
from benchmarks.ceilings import ceilings
from benchmarks.peers import compared
from benchmarks.startup import growth, memory, starts
from benchmarks.windows import speeds
from difflab.experiment.machine.hardware import best_device, device_name, keep_heap
from difflab.paradigm.bf16 import has_bf16

ALLOCATORS = {"plain": {}, "huge pages": {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}}
VERSIONS = ("difflab", "torch", "lightning", "hydra-core", "numpy")


def parser() -> argparse.ArgumentParser:
    """The words of the command."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--out", type=Path, default=Path(), help="the folder of speed.json and speed.png (here)")
    made.add_argument("--rounds", type=int, default=7, help="windows of each case (7)")
    made.add_argument("--window", type=float, default=1.0, help="seconds of a window (1)")
    made.add_argument("--cpu", action="store_true", help="count the processor's seconds: others share the machine")
    made.add_argument("--small", action="store_true", help="sizes of moments, which measure nothing")
    made.add_argument("--peers", type=Path, help="also other libraries, in the environment at this folder")
    made.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    return made


def work(words: argparse.Namespace) -> dict[str, Any]:
    """What one process measures."""
    sizes = SMALL if words.small else Sizes()
    device = best_device()
    fast = "bf16" if has_bf16(device) else "fp32"
    over, clock = memory(sizes), time.process_time if words.cpu else time.perf_counter
    cases = ceilings(sizes.batch, sizes.image, sizes.width, device, sorted({"fp32", fast}))
    cases += network_cases(sizes, device, fast)
    cases += [*loop_cases(sizes, device), *toy_cases(sizes), *score_cases(sizes, device)]
    found = {name: asdict(each) for name, each in speeds(cases, words.rounds, words.window, clock).items()}
    return {"device": device_name(device), "precision": fast, "memory": over, "speeds": found}


def worker(allocator: str, words: argparse.Namespace) -> dict[str, Any]:
    """The same in a process with an allocator's settings."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "found.json"
        line = [sys.executable, "-m", "benchmarks.speed", f"--worker={path}"]
        line += [f"--rounds={words.rounds}", f"--window={words.window}"]
        line += [*["--small"] * words.small, *["--cpu"] * words.cpu]
        places = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]))
        subprocess.run(line, check=True, env={**os.environ, **ALLOCATORS[allocator], "PYTHONPATH": places})
        found: dict[str, Any] = json.loads(path.read_text())
        return found


def measured(words: argparse.Namespace) -> dict[str, Any]:
    """All of it."""
    sizes = SMALL if words.small else Sizes()
    allocators = list(ALLOCATORS)[: 1 if words.small else None]
    commands = {"names": ("difflab-report --help",)} if words.small else {}
    found: dict[str, Any] = {
        "versions": {name: version(name) for name in VERSIONS} | {"python": platform.python_version()},
        "allocators": {name: worker(name, words) for name in allocators},
        "starts": {name: asdict(each) for name, each in starts(1 if words.small else 3, **commands).items()},
        "growth": growth(sizes),
    }
    if words.peers:
        found["peers"] = compared(words.peers, sizes.batch, sizes.image, words.rounds)
    return found


def rows(found: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The seconds of everything, by a name that a later run has, too."""
    every = {
        f"{name}, {allocator}": each
        for allocator, part in found["allocators"].items()
        for name, each in part["speeds"].items()
    }
    more: dict[str, dict[str, float]] = found["starts"]
    return every | more | {k: each for k, each in found.get("peers", {}).items() if "seconds" in each}


def table(found: Mapping[str, Any], before: Mapping[str, Any] | None) -> Table:
    """A row a case: milliseconds, spread, rate, share of the ceiling of its kind, and times as fast as before."""
    made = Table("", "ms", "spread", "GFLOP/s", "of ceiling", "before / now", title=str(found["versions"]))
    old = rows(before) if before else {}
    for allocator, part in found["allocators"].items():
        tops = {kind: part["speeds"][f"{kind} {part['precision']}"]["flop_per_s"] for kind in ("convolution", "matmul")}
        for name, each in part["speeds"].items():
            top = tops["matmul" if name.startswith("DiT") else "convolution"]
            share = f"{each['flop_per_s'] / top:.0%}" if name.startswith(("DiT", "U-Net")) else ""
            made.add_row(*cells(f"{name}, {allocator}", each, share, old))
    for name, each in rows(found).items():
        if name in found["starts"] or name in found.get("peers", {}):
            made.add_row(*cells(name, each, "", old))
    for name, times in found["growth"].items():
        made.add_row(f"twice the {name}", f"x {times:.2f}")
    for allocator, part in found["allocators"].items():
        made.add_row(f"peak memory over what a step keeps, {allocator}", f"x {part['memory']:.2f}")
    return made


def cells(name: str, each: Mapping[str, float], share: str, old: Mapping[str, Mapping[str, float]]) -> list[str]:
    """The cells of a row."""
    rate = f"{each['flop_per_s'] / 1e9:.0f}" if each.get("flop_per_s") else ""
    gain = f"{old[name]['seconds'] / each['seconds']:.2f}" if name in old and each["seconds"] else ""
    return [name, f"{1e3 * each['seconds']:.3g}", f"{each.get('spread', 0):.0%}", rate, share, gain]


def figure(found: Mapping[str, Any]) -> Figure:
    """A bar a case, in milliseconds."""
    every = rows(found)
    made = Figure((8, 0.25 * len(every) + 1), layout="constrained")
    axes = made.subplots()
    axes.barh([*every], [1e3 * max(each["seconds"], 1e-7) for each in every.values()])
    axes.set(xscale="log", xlabel="milliseconds a unit", title="Speed")
    axes.invert_yaxis()
    return made


def main(words: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print, write, and return what was found."""
    asked = parser().parse_args(words)
    if asked.worker:
        found = work(asked)
        asked.worker.write_text(json.dumps(found))
        return found
    asked.out.mkdir(parents=True, exist_ok=True)
    path = asked.out / "speed.json"
    before = json.loads(path.read_text()) if path.exists() else None
    found = measured(asked)
    Console(width=120).print(table(found, before))
    for name, each in found.get("peers", {}).items():
        print(f"{name} {each.get('version', '')} {each.get('problem', '')}")
    path.write_text(json.dumps(found, indent=1))
    figure(found).savefig(asked.out / "speed.png", dpi=120)
    return found


if __name__ == "__main__":
    keep_heap()
    torch.manual_seed(0)
    main()
