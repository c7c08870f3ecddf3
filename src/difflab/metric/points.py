"""Points measured as they are."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from difflab.metric.distance import energy, wasserstein
from difflab.metric.features import Score
from difflab.metric.sample_size import EqualSets, Unbiased


class Points:
    """A point as its own feature: no network, so that distances are in units of the data.

    `device` is where a network would run; nothing does.
    """

    name = "points"
    sha256 = "none"
    resize = "none"
    scores: ClassVar[tuple[Score, ...]] = (
        Score.single("point", "w2", wasserstein, EqualSets()),
        Score.single("point", "energy", energy, Unbiased()),
    )

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)

    def __call__(self, points: Tensor) -> dict[str, Tensor]:
        """The points {"point": (N, D)}. Raises ValueError for images, and for values that are not finite."""
        if points.dtype != torch.float32 or points.ndim != 2 or not len(points):
            raise ValueError(
                f"points are float32 (N, D), N > 0; these are {points.dtype} {tuple(points.shape)}; "
                "protocol=quick measures images"
            )
        if lost := int((~points.isfinite().all(1)).sum()):
            raise ValueError(f"{lost} of {len(points)} points are not finite: the model or its sampler diverged")
        return {"point": points.cpu()}
