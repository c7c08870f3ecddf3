"""What a classifier of the data says of generated samples."""

from __future__ import annotations

import torch
from torch import Tensor


def inception_score(log_probs: Tensor) -> float:
    """How surely a classifier tells samples apart, and how many classes it finds: `exp E KL(p(y | x) || p(y))`.

    Of log-probabilities (n, C), all of them at once: from 1 to C. Biased downwards for small n; blind to samples that
    are all alike within a class. p(y) is the mean over the samples, so that asked labels in other shares than the
    data's change it. Raises ValueError for other shapes, and for rows whose probabilities do not sum to 1.
    Salimans et al. 2016 (arXiv:1606.03498), section 4, where the classifier is Inception.
    """
    probs = _checked(log_probs).exp()
    entropy = torch.special.entr  # -p log p, 0 at p = 0
    return float((entropy(probs.mean(0)).sum() - entropy(probs).sum(1).mean()).exp())


def class_accuracy(log_probs: Tensor, labels: Tensor) -> float:
    """The share of samples whose most probable class is the one that was asked for.

    Of log-probabilities (n, C) and labels (n,). Raises ValueError for other shapes.
    """
    if labels.shape != log_probs.shape[:1]:
        raise ValueError(f"each sample has one label: {tuple(labels.shape)} for {tuple(log_probs.shape)}")
    return (_checked(log_probs).argmax(1) == labels).double().mean().item()


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
