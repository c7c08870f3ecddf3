"""What each part of the fast path is worth: training steps of the default network, each variant beside the default.

    python tests/benchmarks/training_step.py

Prints, for each variant, the median over rounds of its time divided by the default's in the same round, and the
default's rate with the share of this machine's bf16 matrix rate that it reaches.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from difflab.backbone.unet import UNet
from difflab.experiment.hardware import autocast, best_device, has_bf16, keep_heap

BATCH, ROUNDS, STEPS = 128, 7, 3
SHAPE = (1, 16, 16)
SETTINGS = {"width": 48, "multipliers": (1, 2, 2), "blocks": 1, "attention": (8,), "head_channels": 16}


def trainer(precision: str, fused: bool = True, groups: int | None = None) -> Callable[[], None]:
    """A function that takes one training step."""
    device = best_device()
    net = UNet(SHAPE, 10, groups=groups, **SETTINGS).to(device)
    adamw = torch.optim.AdamW(net.parameters(), 1e-4, fused=fused)
    x = torch.randn(BATCH, *SHAPE, device=device)
    code, label = torch.rand(BATCH, device=device) * 1000, torch.zeros(BATCH, dtype=torch.long, device=device)

    def step() -> None:
        with autocast(device, precision):
            loss = nn.functional.mse_loss(net(x, code, label).float(), x)
        loss.backward()
        adamw.step()
        adamw.zero_grad()

    return step


def seconds(action: Callable[[], None], repeats: int = STEPS) -> float:
    """Time of one call, after a warm-up."""
    action()
    start = time.perf_counter()
    for _ in range(repeats):
        action()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / repeats


def main() -> None:
    """Measure."""
    fast = "bf16" if has_bf16(best_device()) else "fp32"
    default = trainer(fast)
    variants = {
        "fp32": trainer("fp32"),
        "AdamW not fused": trainer(fast, fused=False),
        "24 groups of 2 to 4 channels": trainer(fast, groups=24),
    }
    ratios: dict[str, list[float]] = {name: [] for name in variants}
    times = []
    for _ in range(ROUNDS):
        for name, variant in variants.items():
            times.append(seconds(default))
            ratios[name].append(seconds(variant) / times[-1])
    for name, found in ratios.items():
        print(f"{name:30} {statistics.median(found):.2f} times the default's time")

    a = torch.randn(2048, 2048, device=best_device(), dtype=torch.bfloat16 if fast == "bf16" else torch.float32)
    peak = 2 * 2048**3 / min(seconds(lambda: torch.mm(a, a)) for _ in range(ROUNDS))
    with FlopCounterMode(display=False) as counter:
        default()
    rate = statistics.median(1 / t for t in times)
    share = counter.get_total_flops() * rate / peak
    print(f"default ({fast}): {rate * BATCH:.0f} images/s, {share:.0%} of the matrix rate of {peak / 1e9:.0f} GFLOP/s")


if __name__ == "__main__":
    keep_heap()
    main()
