"""Classifiers of noisy samples: the law of the class given `x_t`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from difflab.process.gaussian import scale
from difflab.process.schedule import Schedule
from difflab.process.target import Target


class AnyClassifier(nn.Module):
    """A classifier at every noise level: `forward(x, t) -> log p(y | x_t)`, of shape `(B, classes)`."""

    is_network: bool = True  # a call is a network evaluation
    schedule: Schedule
    shape: tuple[int, ...]  # of one sample
    classes: int

    @property
    def device(self) -> torch.device:
        """Where its weights lie."""
        return next(itertools.chain(self.parameters(), self.buffers())).device


class ClassifierBackbone(Protocol):
    """The network: `(x: (B, C, ...), code: (B,)) -> logits (B, classes)`."""

    shape: Sequence[int]
    classes: int

    @property
    def readout(self) -> nn.Linear:
        """The last layer, from features to logits."""

    def __call__(self, x: Tensor, code: Tensor) -> Tensor:
        """The logits."""


class Classifier(AnyClassifier):
    """backbone + schedule.

    Dhariwal & Nichol 2021 (arXiv:2105.05233), section 4. Raises ValueError for a network that does not tell classes.
    """

    def __init__(self, backbone: nn.Module, schedule: Schedule) -> None:
        super().__init__()
        if hasattr(backbone, "learned_variance"):
            raise ValueError(
                f"{type(backbone).__name__} gives samples and does not classify: "
                f"for images choose backbone=half_unet or half_dit"
            )
        self.backbone, self.schedule, self.input = backbone, schedule, Target()
        if isinstance(schedule, nn.Module):
            schedule.requires_grad_(False)  # to tell classes it would flee from noise
        network = cast(ClassifierBackbone, backbone)
        self.shape, self.classes = tuple(network.shape), network.classes

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Log-probabilities `(B, classes)` of samples `(B, *)` at times `()` or `(B,)`."""
        code = self.input.c_noise(self.schedule, t).to(x).expand(len(x))
        logits: Tensor = self.backbone(scale(self.input.c_in(self.schedule(t)), x), code)
        return logits.log_softmax(1)
