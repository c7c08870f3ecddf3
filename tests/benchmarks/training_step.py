"""What each part of the fast path is worth: training steps of the default network, each variant beside the default.

    python tests/benchmarks/training_step.py

Prints, for each variant, the median over rounds of its time divided by the default's in the same round, and the
default's rate with the share of this machine's bf16 matrix rate that it reaches.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from difflab.backbone.unet import UNet
from difflab.experiment.machine.hardware import autocast, best_device, keep_heap
from difflab.paradigm.bf16 import has_bf16

SHAPE = (1, 16, 16)


@dataclass(frozen=True)
class Found:
    """The ratios of times by variant, the default's images a second, its operations a step, and the matrix rate."""

    ratios: dict[str, float]
    images_per_s: float
    flop: int
    peak: float  # floating-point operations a second


def parser() -> argparse.ArgumentParser:
    """The sizes, and their defaults."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default, text in [
        ("batch", 128, "images a step"),
        ("width", 48, "channels of the network at full resolution"),
        ("rounds", 7, "times that every variant is measured"),
        ("steps", 3, "training steps a measurement"),
        ("matrix", 2048, "rows of the square matrices of which the rate is measured"),
    ]:
        made.add_argument(f"--{name}", type=int, default=default, help=f"{text} (default: {default})")
    return made


def trainer(
    batch: int, width: int, precision: str, fused: bool = True, groups: int | None = None
) -> Callable[[], object]:
    """A function that takes one training step."""
    device = best_device()
    net = UNet(
        SHAPE, 10, width=width, multipliers=(1, 2, 2), blocks=1, attention=(8,), head_channels=16, groups=groups
    ).to(device)
    adamw = torch.optim.AdamW(net.parameters(), 1e-4, fused=fused)
    x = torch.randn(batch, *SHAPE, device=device)
    code, label = torch.rand(batch, device=device) * 1000, torch.zeros(batch, dtype=torch.long, device=device)

    def step() -> None:
        with autocast(device, precision):
            loss = nn.functional.mse_loss(net(x, code, label).float(), x)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's
        adamw.step()
        adamw.zero_grad()

    return step


def seconds(action: Callable[[], object], repeats: int) -> float:
    """Time of one call, after a warm-up."""
    action()
    start = time.perf_counter()
    for _ in range(repeats):
        action()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / repeats


def main(words: Sequence[str] | None = None) -> Found:
    """Measure, print, and return what was found."""
    args = parser().parse_args(words)
    fast = "bf16" if has_bf16(best_device()) else "fp32"
    default = trainer(args.batch, args.width, fast)
    groups = args.width // 2
    variants = {
        "fp32": trainer(args.batch, args.width, "fp32"),
        "AdamW not fused": trainer(args.batch, args.width, fast, fused=False),
        f"{groups} groups of 2 to 4 channels": trainer(args.batch, args.width, fast, groups=groups),
    }
    rounds: dict[str, list[float]] = {name: [] for name in variants}
    times = []
    for _ in range(args.rounds):
        for name, variant in variants.items():
            times.append(seconds(default, args.steps))
            rounds[name].append(seconds(variant, args.steps) / times[-1])
    ratios = {name: statistics.median(found) for name, found in rounds.items()}

    n, dtype = args.matrix, torch.bfloat16 if fast == "bf16" else torch.float32
    a = torch.randn(n, n, device=best_device(), dtype=dtype)
    peak = 2 * n**3 / min(seconds(lambda: torch.mm(a, a), args.steps) for _ in range(args.rounds))
    with FlopCounterMode(display=False) as counter:
        default()
    found = Found(ratios, args.batch / statistics.median(times), counter.get_total_flops(), peak)

    for name, ratio in ratios.items():
        print(f"{name:30} {ratio:.2f} times the default's time")
    share = found.flop * found.images_per_s / args.batch / peak
    rate = f"{found.images_per_s:.0f} images/s, {share:.0%} of the matrix rate of {peak / 1e9:.0f} GFLOP/s"
    print(f"default ({fast}): {rate}")
    return found


if __name__ == "__main__":
    keep_heap()
    main()
