"""A mixture of Gaussians two of whose components make a class: its denoiser and its classifier."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from difflab.denoiser.classifier import AnyClassifier
from difflab.denoiser.exact import Mixture
from difflab.process.schedule import Schedule

MEANS = torch.tensor([[1.0, 0.4], [0.2, -0.8], [-0.9, 0.1], [-0.3, -0.5]], dtype=torch.float64)
VAR = torch.tensor([0.04, 0.09, 0.02, 0.16], dtype=torch.float64)
WEIGHTS = torch.tensor([0.1, 0.4, 0.2, 0.3], dtype=torch.float64)
CLASS = torch.tensor([0, 0, 1, 1])


class Labelled(Mixture):
    """The optimal denoiser of a mixture two of whose components make a class."""

    classes = 2

    def __init__(self, schedule: Schedule, var: Tensor = VAR) -> None:
        super().__init__(schedule, MEANS, var, WEIGHTS)

    def log_prior(self, x: Tensor, label: Tensor) -> Tensor:
        """`log w_k` of the components of the label's class, or of all for the null label."""
        allowed = (label[:, None] == CLASS) | (label[:, None] == 2)
        return torch.where(allowed, super().log_prior(x, label), -math.inf)


class Bayes(AnyClassifier):
    """`log p(y | x_t)` of the mixture."""

    shape, classes = (2,), 2

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self.schedule, self.mixture = schedule, Mixture(schedule, MEANS, VAR, WEIGHTS)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Log-probabilities `(B, 2)`."""
        joint = self.mixture.log_joint(x, self.schedule(t), torch.full((len(x),), 2)).softmax(1)
        return torch.stack([joint[:, k == CLASS].sum(1) for k in range(2)], 1).log()
