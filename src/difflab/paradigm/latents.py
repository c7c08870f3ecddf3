"""What the latents of held-out samples are like, and what is wrong with them."""

from __future__ import annotations

import logging
from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

log = logging.getLogger(__name__)

NARROW = 1e-2  # of the latents' standard deviation: below it the posterior is a point
COLLAPSED = 1e-2  # nats of a latent number: below it a channel says nothing of the sample


class LatentFacts(NamedTuple):
    """Of each channel, in float64: `(channels,)`."""

    kl: Tensor  # in nats, a mean over the numbers of the channel
    posterior_std: Tensor  # the mean of the posterior's standard deviation
    std: Tensor  # of the latents, which are draws of the posteriors of all samples

    def warnings(self) -> list[str]:
        """What makes them bad latents for another model, each in a line."""
        found = []
        if (self.posterior_std.mean() / self.std.mean()) < NARROW:
            found.append(
                f"the posterior's std is less than {NARROW:g} of the latents': the KL term does nothing, and nothing "
                f"gives the latents a scale. Whiten them per channel by the training set's mean and std before another "
                f"model works on them, or train with a larger model.kl_weight"
            )
        if lost := int((self.kl < COLLAPSED).sum()):
            found.append(
                f"{lost} of {len(self.kl)} latent channels have a KL of almost 0, so that they say nothing of the "
                f"sample: train with a smaller model.kl_weight or fewer backbone.channels"
            )
        return found


class LatentSums(Metric):
    """Sums over posteriors `N(mean, exp(log_var))` of shape `(B, channels, *)`, over all processes."""

    full_state_update = False
    sums: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.add_state("sums", torch.zeros(5, channels), dist_reduce_fx="sum")

    def update(self, mean: Tensor, log_var: Tensor) -> None:
        """Take in the posteriors of some samples."""
        mean, log_var = (each.float().transpose(0, 1).flatten(1) for each in (mean, log_var))  # (channels, B *)
        var = log_var.exp()
        kl = 0.5 * (mean**2 + var - log_var - 1)
        parts = torch.ones_like(mean), mean, mean**2 + var, var.sqrt(), kl
        self.sums += torch.stack([part.sum(1) for part in parts])

    def compute(self) -> LatentFacts:
        """The means of each channel."""
        n, mean, square, std, kl = self.sums.cpu().double()
        return LatentFacts(kl / n, std / n, (square / n - (mean / n) ** 2).clamp(min=0).sqrt())
