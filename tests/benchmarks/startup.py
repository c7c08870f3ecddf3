"""How long commands take to start, and how times and memory grow with what there is."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.autograd.graph import saved_tensors_hooks

from benchmarks.cases import Sizes, networks
from benchmarks.windows import Speed
from difflab.experiment.store.metrics_file import MetricsFile
from difflab.metric.distance import kernel

SAMPLERS = ("ddim", "heun", "ancestral", "euler", "unipc", "dpm_solver_pp")  # a job each, of one run
COMMANDS = {
    "difflab-train --help": ("train", "--help"),
    "difflab-report --help": ("report", "--help"),
    "dry run": ("train", "dry_run=true", "images=128", "protocol.n=2"),
    "a job with nothing to do": ("train", "-m", "images=128", "protocol.n=0", f"sampler={','.join(SAMPLERS)}"),
}


def seconds_of(words: tuple[str, ...], folder: Path) -> tuple[float, float]:
    """Seconds on the clock, and of the processor, of a command; the times of one that fails are none."""
    command, *rest = words
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    places = [f"runs_dir={folder}"] if any("=" in word for word in rest) else []
    subprocess.run(
        [sys.executable, "-m", f"difflab.cli.{command}", *rest, *places], check=True, capture_output=True, cwd=folder
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - start, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def starts(rounds: int, names: tuple[str, ...] = tuple(COMMANDS)) -> dict[str, Speed]:
    """The fastest of some starts of each command, in seconds of the processor; of the last what a further job takes."""
    found: dict[str, Speed] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            words = COMMANDS[name]
            if "-m" in words:  # the first of them trains; then two jobs are compared with one
                seconds_of(words, Path(folder))
                one = (*words[:-1], f"sampler={SAMPLERS[0]}")
                alone = min(seconds_of(one, Path(folder))[1] for _ in range(rounds))
                times = [(seconds_of(words, Path(folder))[1] - alone) / (len(SAMPLERS) - 1) for _ in range(rounds)]
            else:
                times = [seconds_of(words, Path(folder))[1] for _ in range(rounds)]
            found[name] = Speed(min(times), (max(times) - min(times)) / abs(min(times)))
    return found


def ratio(f: Callable[[int], object], small: int, large: int) -> float:
    """How many times longer the large one takes, each the fastest of three."""
    times = []
    for size in (small, large):
        f(size)
        tries = []
        for _ in range(3):
            start = time.perf_counter()
            f(size)
            tries.append(time.perf_counter() - start)
        times.append(min(tries))
    return times[1] / times[0]


def growth(sizes: Sizes) -> dict[str, float]:
    """How many times longer it takes for twice the size."""

    def distance(n: int) -> None:
        kernel(torch.randn(n, 64), torch.randn(n, 64))

    def pixels(side: int) -> None:
        with torch.no_grad():
            net(torch.randn(4, 1, side, side), torch.rand(4), torch.zeros(4, dtype=torch.long))

    def log(lines: int) -> None:
        path = Path(folder) / f"metrics-{lines}.jsonl"
        if not path.exists():
            path.write_text("".join(json.dumps({"step": k, "train/lr": 0.1}) + "\n" for k in range(lines)))
        MetricsFile(path, 1, lines, 1)

    net = networks(sizes)["U-Net"]
    with tempfile.TemporaryDirectory() as folder:
        return {
            "samples that are measured": ratio(distance, sizes.samples, 2 * sizes.samples),
            "side of an image": ratio(pixels, sizes.image, 2 * sizes.image),
            "lines of metrics.jsonl": ratio(log, 20 * sizes.steps, 40 * sizes.steps),
        }


def memory(sizes: Sizes) -> float:
    """Peak memory of a training step, over the weights, gradient, optimiser, average and what backward was kept for.

    By the high-water mark of this process, which only rises: measured before anything larger.
    """
    net = networks(sizes)["U-Net"]
    x = torch.randn(sizes.batch, 1, sizes.image, sizes.image)
    code, label = torch.rand(sizes.batch), torch.zeros(sizes.batch, dtype=torch.long)
    adamw = torch.optim.AdamW(net.parameters(), fused=True)
    kept: dict[int, int] = {}

    def count(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    with saved_tensors_hooks(count, lambda tensor: tensor):
        loss = (net(x, code, label) - x).square().mean()
    torch.autograd.backward(loss)
    adamw.step()
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    weights = {p.untyped_storage().data_ptr() for p in net.parameters()}
    saved = sum(size for place, size in kept.items() if place not in weights)
    return used / (saved + 3 * sum(p.nbytes for p in net.parameters()))  # the weights were there before
