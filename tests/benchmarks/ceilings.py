"""What a machine can do: matrix products, convolutions and copies at the shapes that the networks use."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from benchmarks.windows import Case, operations

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def ceilings(batch: int, size: int, width: int, device: torch.device, precisions: Sequence[str]) -> list[Case]:
    """Of each precision: the product of a DiT's hidden layer, a 3x3 convolution with its gradients, and a copy."""
    return [case for name in precisions for case in of_type(name, batch, size, width, device)]


def of_type(name: str, batch: int, size: int, width: int, device: torch.device) -> list[Case]:
    """The three cases of one precision; the operations of the copy are bytes, read and written."""
    dtype = TYPES[name]
    tokens, hidden = batch * (size // 4) ** 2, 4 * width
    a = torch.randn(tokens, width, device=device, dtype=dtype)
    b = torch.randn(width, hidden, device=device, dtype=dtype)
    conv = nn.Conv2d(width, width, 3, padding=1).to(device, dtype)
    conv.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.randn(batch, width, size, size, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    x.requires_grad_()
    target = torch.empty_like(x, requires_grad=False)

    def convolve() -> None:
        conv(x).backward(target)

    def copy() -> None:
        target.copy_(x.detach())

    return [
        Case(f"matmul {name}", lambda: torch.mm(a, b), flop=operations(lambda: torch.mm(a, b))),
        Case(f"convolution {name}", convolve, flop=operations(convolve)),
        Case(f"copy {name}", copy, flop=2.0 * x.numel() * x.element_size()),
    ]
