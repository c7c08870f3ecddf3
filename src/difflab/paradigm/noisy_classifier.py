"""Classifiers of noisy samples, to guide with."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from difflab.denoiser.classifier import AnyClassifier
from difflab.objective.draws import Noised
from difflab.objective.times import Times
from difflab.paradigm.base import Paradigm
from difflab.paradigm.optimisation import Optimisation

EDGES = (-4, -2, 0, 2, 4)  # log-SNRs between which the accuracy is reported
BINS = (f"..{EDGES[0]}", *(f"{low}..{low + 2}" for low in EDGES[:-1]), f"{EDGES[-1]}..")


class NoisyClassifier(Paradigm):
    """Tell the class of noisy samples: the cross-entropy of p(y | x_t) at random times.

    Dhariwal & Nichol 2021 (arXiv:2105.05233), section 4. The accuracy on held-out samples is logged too, of all of them
    and by log-SNR.
    """

    learns: ClassVar[str] = "classifier"
    hint: ClassVar[str] = "difflab-sample run=... guidance=[classifier,clip] guidance.classifier.classifier.run={run}"

    def __init__(
        self, classifier: AnyClassifier, times: Times, optimisation: Optimisation, batch_size: int, seed: int = 0
    ) -> None:
        super().__init__(times, optimisation, batch_size, seed)
        self.classifier = classifier

    def loss(self, noised: Noised) -> dict[str, Tensor]:
        """The cross-entropy in nats, 0 where the label is null; shape `(B,)`."""
        return self.against(noised, self.classifier(noised.x_t, noised.t))

    def against(self, noised: Noised, log_p: Tensor) -> dict[str, Tensor]:
        """The loss of these log-probabilities, of shape `(B, classes)`."""
        null = self.classifier.classes
        return {"cross_entropy": F.nll_loss(log_p, noised.label, ignore_index=null, reduction="none")}

    def held_out_loss(self, noised: Noised) -> dict[str, Tensor]:
        """The same; and count the samples of each bin, and the right answers to them."""
        log_p: Tensor = self.classifier(noised.x_t, noised.t)
        log_snr = self.schedule.log_snr(noised.t)
        bins = torch.bucketize(log_snr, torch.tensor(EDGES, dtype=log_snr.dtype)).to(log_p.device)
        right = bins[log_p.argmax(1) == noised.label]
        self.counts += torch.stack([part.bincount(minlength=len(BINS)) for part in (right, bins)])
        return self.against(noised, log_p)

    def on_validation_epoch_start(self) -> None:
        """Start the counts, too."""
        super().on_validation_epoch_start()
        self.counts = torch.zeros(2, len(BINS), dtype=torch.long, device=self.device)

    def on_validation_epoch_end(self) -> None:
        """Log the accuracy, too: of all samples, and of each bin that has its share of them."""
        super().on_validation_epoch_end()
        right, seen = self.trainer.strategy.reduce(self.counts, reduce_op="sum").double()
        self.log("val/accuracy", right.sum() / seen.sum(), rank_zero_only=True)
        for name, share, n in zip(BINS, right / seen, seen, strict=True):
            if 0 < n < seen.sum():
                self.log(f"val/accuracy@{name}", share, rank_zero_only=True)


class CleanClassifier(NoisyClassifier):
    """Tell the class of clean samples, to measure generated ones: the same on a schedule that ends where it begins."""

    hint: ClassVar[str] = "difflab-evaluate run=... protocol=quick protocol.classifier={run}"
