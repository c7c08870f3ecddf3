"""Couplings: which noise belongs to which clean sample of a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from difflab.process.ranges import Label


class Coupling(Protocol):
    """A joint law of clean samples and noise in which the noise is N(0, I) given the label of its sample.

    Sampling starts from N(0, I) for every label, so that the noise a network is trained on must have this law for every
    label too, and not in the mean over labels alone.
    """

    def __call__(self, x0: Callable[[], Tensor], eps: Tensor, label: Callable[[], Tensor] | None = None) -> Tensor:
        """The noise `eps` of the whole batch, `(n, *)`, in the order of the clean samples `x0()` that it goes to.

        `label()` are the samples' labels, int64 `(n,)`; without it they have none.
        """


@dataclass(frozen=True)
class Independent:
    """Noise that knows nothing of the data. Ho et al. 2020 (arXiv:2006.11239), Algorithm 1."""

    def __call__(self, x0: Callable[[], Tensor], eps: Tensor, label: Callable[[], Tensor] | None = None) -> Tensor:
        """The noise as it is; neither `x0` nor `label` is called."""
        return eps


@dataclass(frozen=True)
class OptimalTransport:
    """The assignment of least total squared distance among the samples of each label in the batch, exact.

    Tong et al. 2024 (arXiv:2302.00482), section 3.2.3, and Pooladian et al. 2023 (arXiv:2304.14772), both without
    labels. An assignment over all labels gives each label the noise that lies nearest to it, which is not N(0, I):
    Cheng & Schwing 2025 (arXiv:2503.10636), who add the condition to the cost; within labels is the limit of a large
    such cost. A label that is dropped for the null label after the assignment keeps its noise. That is right: labels
    are dropped at random, so the noise given the null label is the mean over all labels of N(0, I), which is N(0, I).

    `classes` is the number of labels; 0 assigns across labels, as unlabelled data need it and as earlier runs did it;
    None takes the labels as they come.
    """

    as_before: ClassVar[Mapping[str, object]] = {"classes": 0}
    classes: Label | None = None

    def __call__(self, x0: Callable[[], Tensor], eps: Tensor, label: Callable[[], Tensor] | None = None) -> Tensor:
        """`eps` with the noise of each label permuted so that it lies nearest to the samples of that label."""
        rows, columns = (x.flatten(1).cpu().double() for x in (x0(), eps))
        labels = torch.zeros(len(rows)) if label is None or self.classes == 0 else label().cpu()
        order = torch.arange(len(rows))
        for each in torch.unique(labels):
            mine = (labels == each).nonzero()[:, 0]
            # |x - e|^2 = |x|^2 + |e|^2 - 2 x e, and the squares are the same sum for every permutation
            _, nearest = linear_sum_assignment(rows[mine] @ columns[mine].T, maximize=True)
            order[mine] = mine[torch.from_numpy(nearest)]
        return eps[order.to(eps.device)]
