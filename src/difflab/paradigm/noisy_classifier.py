"""Classifiers of noisy samples, to guide with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from difflab.denoiser.classifier import AnyClassifier, Classifier
from difflab.objective.draws import Noised
from difflab.objective.times import Times, Uniform
from difflab.paradigm.base import Paradigm
from difflab.paradigm.batch import Batch, unpacked
from difflab.paradigm.group_sums import GroupSums
from difflab.paradigm.optimisation import Optimisation
from difflab.process.discrete import LinearBetas
from difflab.process.ranges import Seed
from difflab.process.schedule import Linear, Schedule

EDGES = (-4, -2, 0, 2, 4)  # log-SNRs between which the accuracy is reported
BINS = (f"..{EDGES[0]}", *(f"{low}..{low + 2}" for low in EDGES[:-1]), f"{EDGES[-1]}..")


class NoisyClassifier(Paradigm):
    """Tell the class of noisy samples: the cross-entropy of p(y | x_t) at random times.

    Dhariwal & Nichol 2021 (arXiv:2105.05233), section 4. The accuracy on held-out samples is logged too, of all of them
    and by log-SNR. `trainer.predict` gives the log-probabilities of clean samples.

    The first argument is a classifier, or a backbone, of which one is made on `schedule`, by default that of Ho et al.
    2020. Raises ValueError for a schedule beside a classifier, which has its own.
    """

    as_before: ClassVar[Mapping[str, object]] = {"schedule": None}  # the classifier's own
    default_schedule: ClassVar[Schedule] = LinearBetas(T=1000)
    learns: ClassVar[str] = "classifier"
    follows_budget: ClassVar[bool] = False
    hint: ClassVar[str] = "difflab-sample run=... guidance=classifier guidance.classifier.classifier.run={run}"

    def __init__(
        self,
        classifier: nn.Module,
        times: Times | None = None,
        optimisation: Optimisation | None = None,
        batch_size: int | None = None,
        seed: Seed = 0,
        schedule: Schedule | None = None,
    ) -> None:
        super().__init__(times or Uniform(), optimisation, batch_size, seed)
        if not isinstance(classifier, AnyClassifier):
            classifier = Classifier(classifier, schedule or self.default_schedule)
        elif schedule:
            raise ValueError(
                f"{type(classifier).__name__} has a schedule of its own: give {type(self).__name__} the backbone "
                f"alone, or no schedule"
            )
        self.classifier: AnyClassifier = classifier
        self.right = GroupSums()

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
        right = log_p.argmax(1) == noised.label
        for i in range(len(BINS)):
            self.right.update(right[bins == i], i)
        return self.against(noised, log_p)

    def on_validation_epoch_start(self) -> None:
        """Start the counts, too."""
        super().on_validation_epoch_start()
        self.right.reset()

    def on_validation_epoch_end(self) -> None:
        """Log the accuracy, too: of all samples, and of each bin that has its share of them."""
        super().on_validation_epoch_end()
        right, seen = self.right.compute().unbind(1)
        self.log(f"{self.split}/accuracy", (right.sum() / seen.sum()).item(), sync_dist=True)
        for name, share, n in zip(BINS, right / seen, seen, strict=True):
            if 0 < n < seen.sum():
                self.log(f"{self.split}/accuracy@{name}", share.item(), sync_dist=True)

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """`log p(y | x)` of samples as they are, at the least noisy time; shape `(B, classes)`."""
        x, _, _ = unpacked(batch, self.classifier.shape)
        log_p: Tensor = self.classifier(x, torch.tensor(self.schedule.t_min, dtype=torch.float64))
        return log_p


class CleanClassifier(NoisyClassifier):
    """Tell the class of clean samples, to measure generated ones: the same on a schedule that ends where it begins."""

    default_schedule: ClassVar[Schedule] = Linear(t_min=0.0, t_max=0.0)
    hint: ClassVar[str] = "difflab-evaluate run=... protocol=quick protocol.classifier={run}"
