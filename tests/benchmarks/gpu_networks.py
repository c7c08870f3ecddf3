"""The networks that `benchmarks.gpu` tries, their sizes, their batches and their training steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from difflab.backbone import DiT, UNet
from difflab.experiment.machine.hardware import autocast


@dataclass(frozen=True)
class Sizes:
    """The sizes of everything."""

    batch: int = 256
    image: int = 32
    unet: int = 128  # channels at full resolution
    dit: tuple[int, int, int] = (768, 12, 12)  # width, depth, heads: DiT-B
    latent: int = 64
    mmdit: tuple[int, int, int] = (384, 12, 6)
    drawn: int = 256
    nfe: int = 50
    decoded: int = 256  # pixels of a side
    window: float = 2.0
    rounds: int = 3


SMALL = Sizes(2, 8, 16, (16, 1, 2), 8, (16, 1, 2), 2, 3, 16, 0.01, 1)


def unet(sizes: Sizes) -> nn.Module:
    """The U-Net of the table."""
    attention = (sizes.image // 2,)
    return UNet((3, sizes.image, sizes.image), 10, sizes.unet, (1, 2, 2), 2, attention, min(64, 2 * sizes.unet))


def dit(sizes: Sizes) -> nn.Module:
    """DiT-B/4 of the same images."""
    width, depth, heads = sizes.dit
    return DiT((3, sizes.image, sizes.image), 10, width=width, depth=depth, heads=heads, patch=4)


def batch_of(network: nn.Module, n: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Samples, codes and labels."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(n, *cast(tuple[int, ...], network.shape), generator=g)
    return x.to(device), torch.rand(n, generator=g).to(device), torch.zeros(n, dtype=torch.long, device=device)


def shaken(network: nn.Module) -> nn.Module:
    """A network whose last layers, which start at zero, have weights."""
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(torch.randn(p.shape, generator=g), alpha=0.02)
    return network


def trainer(network: nn.Module, sizes: Sizes, device: torch.device) -> Callable[[], None]:
    """A training step in bf16."""
    adamw = torch.optim.AdamW(network.parameters(), 1e-4, fused=True)
    x, code, label = batch_of(getattr(network, "module", network), sizes.batch, device)

    def step() -> None:
        with autocast(device, "bf16"):
            loss = nn.functional.mse_loss(network(x, code, label).float(), x)
        torch.autograd.backward(loss)
        adamw.step()
        adamw.zero_grad()

    return step
