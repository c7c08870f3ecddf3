"""What all paradigms share: noise that is a function of the step, the weighted regression, the optimiser."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import lightning.pytorch as pl
import torch
import torch.distributed as dist
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from difflab.denoiser import Denoiser, Estimate
from difflab.gaussian import scale
from difflab.generate import keyed
from difflab.times import Times
from difflab.weighting import Weighting

TRAINING, HELD_OUT = 0, 1  # streams of noise that never meet


@dataclass(frozen=True)
class Optimisation:
    """AdamW, linear warm-up over the fraction `warmup` of the budget, then cosine decay to zero.

    Loshchilov & Hutter 2019 (arXiv:1711.05101). `clip` bounds the norm of the whole gradient.
    """

    lr: float = 1e-3
    warmup: float = 0.05
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = 1.0

    def factor(self, step: int, steps: int) -> float:
        """The learning rate at a step, as a share of `lr`."""
        progress = (step + 1) / (steps + 1)
        if progress < self.warmup:
            return progress / self.warmup
        return 0.5 + 0.5 * math.cos(math.pi * (progress - self.warmup) / (1 - self.warmup))


class Noised(NamedTuple):
    """Clean samples on their way to the network."""

    t: Tensor
    weight: Tensor
    x_t: Tensor
    eps: Tensor
    label: Tensor


def place() -> tuple[int, int]:
    """The rank of this process, and how many processes train together."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


class Diffusion(pl.LightningModule):
    """Regress the denoiser's target at random times; a paradigm says `loss` and `bits_per_dim`.

    `batch_size` counts the images of a step over all processes. `label_dropout` is the share of training labels
    replaced by the null label, for classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598, Algorithm 1).
    """

    def __init__(
        self,
        denoiser: Denoiser,
        times: Times,
        weighting: Weighting,
        optimisation: Optimisation,
        batch_size: int,
        label_dropout: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.times, self.weighting, self.optimisation = times, weighting, optimisation
        self.batch_size, self.label_dropout, self.seed = batch_size, label_dropout, seed

    def loss(self, x0: Tensor, noised: Noised) -> dict[str, Tensor]:
        """The terms of the loss, each of shape `(B,)`."""
        raise NotImplementedError

    def bits_per_dim(self, x0: Tensor, label: Tensor) -> Tensor:
        """An upper bound on, or the value of, `-log2 p(x0)` per dimension; shape `(B,)`."""
        raise NotImplementedError

    def corrupt(self, x0: Tensor, label: Tensor, dropout: float, *key: int) -> Noised:
        """Noise a batch, and drop labels, by draws that are a function of the key and the place in the global batch.

        Process r of w has the rows from `r / w * batch_size` on.
        """
        g, (rank, world), n = keyed(self.seed, *key), place(), self.batch_size
        mine = slice(rank * n // world, rank * n // world + len(x0))
        t, weight = self.times(self.denoiser.schedule, n, g)
        dropped = torch.rand(n, generator=g) < dropout
        eps = torch.randn(n, *x0.shape[1:], generator=g)[mine].to(x0)
        t, weight = t[mine], weight[mine]
        label = torch.where(dropped[mine].to(label.device), self.denoiser.classes, label)
        return Noised(t, weight, self.denoiser.schedule(t)(x0, eps), eps, label)

    def regress(self, estimate: Estimate, x0: Tensor, noised: Noised) -> Tensor:
        """The weighted squared error in the network's own target, mean over dimensions: shape `(B,)`."""
        schedule, target, t = self.denoiser.schedule, self.denoiser.target, noised.t
        error = (estimate.out - target.mix(schedule, t)(x0, noised.eps)) ** 2
        return scale(self.weighting(schedule, target, t), error.flatten(1).mean(1))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The mean loss of a batch of `(x0, label)`."""
        torch.manual_seed(keyed(self.seed, TRAINING, self.global_step, self.global_rank).initial_seed())  # for dropout
        x0, label = batch
        noised = self.corrupt(x0, label, self.label_dropout, TRAINING, self.global_step)
        terms = {k: scale(noised.weight, v).mean() for k, v in self.loss(x0, noised).items()}
        total = torch.stack(list(terms.values())).sum()
        self.log_dict({"train/loss": total, **({f"train/{k}": v for k, v in terms.items()} if len(terms) > 1 else {})})
        return total

    def on_validation_epoch_start(self) -> None:
        """Start the sum of the held-out losses, and their count."""
        self.held_out = torch.zeros(2, device=self.device)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Add up the held-out losses, each under the same noise every time."""
        x0, label = batch
        noised = self.corrupt(x0, label, 0.0, HELD_OUT, batch_idx)
        total = torch.stack([scale(noised.weight, v) for v in self.loss(x0, noised).values()]).sum(0)
        self.held_out += torch.stack([total.sum(), total.new_tensor(len(x0))])

    def on_validation_epoch_end(self) -> None:
        """Log the mean over all held-out images, of which each process may have seen another number."""
        total, n = self.trainer.strategy.reduce(self.held_out, reduce_op="sum")
        self.log("val/loss", total / n, rank_zero_only=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW in one fused kernel, and its learning rate by step."""
        o, steps = self.optimisation, int(self.trainer.estimated_stepping_batches)
        adamw = AdamW(self.denoiser.parameters(), o.lr, o.betas, weight_decay=o.weight_decay, fused=True)
        schedule = LambdaLR(adamw, lambda step: o.factor(step, steps))
        return {"optimizer": adamw, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradient and log the norm it had."""
        norm = nn.utils.clip_grad_norm_(self.denoiser.parameters(), self.optimisation.clip)
        self.log("train/grad_norm", norm)
        self.log("train/lr", optimizer.param_groups[0]["lr"])
