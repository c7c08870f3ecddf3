"""What a classifier of the data says of generated samples."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.special import entr as entropy  # -p log p, 0 at p = 0
from torchmetrics import Metric

from difflab.metric.extrapolated import halves
from difflab.metric.gather import ON_CPU

SUMS = ("probs", "entropies", "n")


def inception_score(log_probs: Tensor) -> float:
    """How surely a classifier separates samples, and how many classes it finds: `exp E KL(p(y | x) || p(y))`.

    Of log-probabilities (n, C), all of them at once: from 1 to C. Biased downwards for small n; blind to samples that
    are all alike within a class. p(y) is the mean over the samples, so that asked labels in other shares than the
    data's change it. Raises ValueError for other shapes, and for rows whose probabilities do not sum to 1.
    Salimans et al. 2016 (arXiv:1606.03498), section 4, where the classifier is Inception.
    """
    return float(_score(*_sums(log_probs)))


def inception_score_at(log_probs: Tensor, n: int) -> float:
    """The score of n samples from log-probabilities (N, C) of N <= n of them: `log IS` rises towards a limit by 1/n.

    The entropy of the mean of N probabilities is too small by a multiple of 1/N, so that the limit follows from the
    whole set and its two halves: `log IS(n) = limit + (log IS(N) - limit) N / n`, at most log C. Of N >= n it is the
    score itself. The numbers of samples of each class are taken for random: of a split with as many of each the value
    comes out too high, by 1 or 2 % for N = 200. Miller 1955.
    """
    whole, count = math.log(inception_score(log_probs)), len(log_probs)
    if count >= n or count < 2:
        return math.exp(whole)
    half = sum(math.log(inception_score(log_probs[part])) for part in halves(count)) / 2
    falling = (whole - half) * (count // 2) / (count - count // 2)  # limit - log IS(N)
    return min(math.exp(whole + falling * (1 - count / n)), float(log_probs.shape[1]))


def class_accuracy(log_probs: Tensor, labels: Tensor) -> float:
    """The share of samples whose most probable class is that of their label.

    Of log-probabilities (n, C) and labels (n,). Raises ValueError for other shapes.
    """
    return correct(log_probs, labels).mean().item()


def correct(log_probs: Tensor, labels: Tensor) -> Tensor:
    """1 where the most probable class is the label, else 0: float64 (n,), whose mean is the accuracy.

    Raises ValueError for other shapes.
    """
    if labels.shape != log_probs.shape[:1]:
        raise ValueError(f"each sample has one label: {tuple(labels.shape)} for {tuple(log_probs.shape)}")
    return (_checked(log_probs).argmax(1) == labels.to(log_probs.device)).double()


def _sums(log_probs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Over samples: of the probabilities (C,), of their entropies, and of 1."""
    probs = _checked(log_probs).exp()
    return probs.sum(0), entropy(probs).sum(), probs.new_tensor(len(probs))


def _score(probs: Tensor, entropies: Tensor, n: Tensor) -> Tensor:
    score: Tensor = (entropy(probs / n).sum() - entropies / n).exp()
    return score


class InceptionScore(Metric):
    """`inception_score` of all samples, from sums over them.

        metric = InceptionScore(classes=10)
        for images in generated:
            metric.update(classifier(images).log_softmax(1))
        metric.compute()  # float64 ()

    Raises ValueError as the function does.
    """

    full_state_update = False
    higher_is_better = True
    probs: Tensor
    n: Tensor

    def __init__(self, classes: int, **settings: Any) -> None:  # noqa: ANN401
        super().__init__(**ON_CPU | settings)
        zero = torch.zeros((), dtype=torch.float64)
        for name, default in zip(SUMS, (zero.repeat(classes), zero, zero), strict=True):
            self.add_state(name, default, dist_reduce_fx="sum")

    def update(self, log_probs: Tensor) -> None:
        """Take in the log-probabilities (N, C) of a batch."""
        if log_probs.shape[1:] != self.probs.shape:
            raise ValueError(f"log-probabilities are (n, {len(self.probs)}), not {tuple(log_probs.shape)}")
        for name, value in zip(SUMS, _sums(log_probs), strict=True):
            setattr(self, name, getattr(self, name) + value.to(self.device))

    def compute(self) -> Tensor:
        """The score of all. Raises ValueError if there are none."""
        if not self.n:
            raise ValueError("no samples yet: call update first")
        return _score(*(getattr(self, name) for name in SUMS))


def _checked(log_probs: Tensor) -> Tensor:
    if log_probs.ndim != 2 or not len(log_probs):
        raise ValueError(f"log-probabilities are (n, C), n > 0, not {tuple(log_probs.shape)}")
    log_probs = log_probs.double()
    if not torch.allclose(
        total := log_probs.logsumexp(1), torch.zeros_like(total), atol=1e-2
    ):  # bf16 may have made them
        raise ValueError(
            "these are no log-probabilities: their exponentials do not sum to 1; log_softmax makes them so"
        )
    return log_probs
