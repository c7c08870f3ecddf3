"""What is said of a training whose numbers are not finite."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from difflab.paradigm.sharding import full
from difflab.process.schedule import Schedule

LIMIT = 10  # steps in a row whose gradient is not finite, after which a training stops


class Diverged(ArithmeticError):
    """A loss, gradient, weight or sample is not finite."""


def norms_by_block(learned: nn.Module, gradients: bool) -> dict[str, Tensor]:
    """The norm of the gradient, or of the weights, of each block of a network that has parameters to train."""
    blocks: dict[str, list[Tensor]] = {}
    for name, p in learned.named_parameters():
        value = p.grad if gradients else p.detach()
        if value is not None:
            blocks.setdefault(".".join(name.split(".")[:2]), []).append(full(value.norm()))
    return {block: torch.stack(each).norm() for block, each in blocks.items()}


def diagnosis(learned: nn.Module, schedule: Schedule, t: Tensor, step: int) -> str:
    """Where a gradient is not finite: the step, the noise levels of its batch at times t, and the norms by block."""
    levels = schedule.log_snr(t)
    norms = {block: float(norm) for block, norm in norms_by_block(learned, gradients=True).items()}
    finite = ", ".join(f"{block} {norm:.3g}" for block, norm in norms.items() if math.isfinite(norm))
    broken = ", ".join(block for block, norm in norms.items() if not math.isfinite(norm))
    return (
        f"the gradient was not finite in {LIMIT} steps in a row, the last of them step {step}; log-SNR of its batch: "
        f"{float(levels.min()):.2f} to {float(levels.max()):.2f}; norm of the gradient: "
        + (f"not finite in {broken}; {finite}" if finite else "not finite in any block")
    )
