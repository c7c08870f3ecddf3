"""Feature maps of a trained classifier, by which an autoencoder compares images."""

from __future__ import annotations

from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor

from difflab.backbone.half_unet import HalfUNet
from difflab.denoiser.classifier import Classifier
from difflab.experiment.model.from_run import FromRun
from difflab.process.gaussian import scale
from difflab.process.ranges import Share


class ClassifierMaps:
    """The maps of each resolution and of the middle that a run of paradigm=classifier backbone=half_unet sees; frozen.

    A classifier of noisy images is used at the least noise that it was trained at. Raises ValueError as `FromRun` does,
    and for a run that trained something else.
    """

    def __init__(self, run: str, runs_dir: str, ema: Share | None = None) -> None:
        self.source = FromRun(run, runs_dir, ema)

    @property
    def identity(self) -> dict[str, Any]:
        """Which weights these are, wherever the run lies."""
        return {**self.source.identity, "class": "experiment:ClassifierMaps"}

    @cached_property
    def classifier(self) -> Classifier:
        """The classifier."""
        found = self.source()
        if not isinstance(found, Classifier) or not isinstance(found.backbone, HalfUNet):
            kind = type(getattr(found, "backbone", found)).__name__
            raise ValueError(
                f"perceptual.run={self.source.found.folder.name} is a {kind}: choose a run of difflab-train "
                f"paradigm=classifier backbone=half_unet with the data= of this training"
            )
        return found

    def __call__(self, x: Tensor) -> list[Tensor]:
        """Maps `(B, C_l, H_l, W_l)` of images `(B, C, H, W)` in [-1, 1].

        Raises ValueError for images of another shape.
        """
        network = self.classifier.to(x.device)
        if x.shape[1:] != network.shape:
            raise ValueError(
                f"perceptual.run={self.source.found.folder.name} sees images of shape {list(network.shape)}, not "
                f"{list(x.shape[1:])}: choose a classifier of the same data"
            )
        t = torch.tensor(network.schedule.t_min, dtype=torch.float64)
        mix, backbone = network.schedule(t), cast(HalfUNet, network.backbone)
        code = network.input.c_noise(network.schedule, t).to(x).expand(len(x))
        seen = scale(network.input.c_in(mix), scale(mix.alpha, x))
        middle, levels = backbone.descend(seen, backbone.condition.entry(code))
        return [*(stages[-1] for stages in levels), middle]
