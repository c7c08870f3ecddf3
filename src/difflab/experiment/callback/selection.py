"""Distances during the training, by which settings may be chosen or a training be ended early."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import cast

import lightning.pytorch as pl
from torch import nn

from difflab.data.images import Split
from difflab.data.labels import in_turn
from difflab.data.module import DataModule
from difflab.denoiser.base import AnyDenoiser
from difflab.experiment.protocol import Protocol
from difflab.experiment.recipe import Recipe
from difflab.metric.cache import Cache
from difflab.metric.reference import real_features, scores
from difflab.paradigm.divergence import Diverged

log = logging.getLogger(__name__)

SEED = 1_000_000  # added to the seed of the noise, so that the final samples are none of those chosen by


class Selection(pl.Callback):
    """At each validation of a fit log `measure` of the averaged model, as `selection/SCORE`.

    All processes call `average`, because each may hold only a part of it; the first process measures.
    """

    def __init__(self, average: Callable[[], nn.Module], measure: Callable[[AnyDenoiser], dict[str, float]]) -> None:
        self.average, self.measure = average, measure
        self.last: dict[str, float] = {}  # the latest distances

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measure."""
        if trainer.state.fn != "fit":
            return
        average = cast(AnyDenoiser, self.average())
        if trainer.is_global_zero:
            try:
                self.last = found = self.measure(average)
            except Diverged as error:
                log.warning("no distance at step %d: %s", trainer.global_step, error)
                return
            for logger in trainer.loggers:
                row = {f"selection/{name}": value for name, value in found.items()}
                logger.log_metrics(row, trainer.global_step - 1)


def selection_scores(
    denoiser: AnyDenoiser, recipe: Recipe, protocol: Protocol, data: DataModule, split: Split, cache: Cache
) -> dict[str, float]:
    """The scores of as many samples as a split has, against that split; their noise is no other measurement's."""
    labels = in_turn(len(split), recipe.guided(denoiser).classes, data.images.looked_up(split))
    drawn = recipe.draw(denoiser, labels, protocol.seeds[0] + SEED)
    features = protocol.extractor(data.codec.measure(data.codec.decode(drawn.x)))
    real = real_features(protocol.extractor, Split(data.codec.measure(split.x), split.y), len(split), cache)
    return scores(protocol.extractor, [features[score.layer] for score in protocol.extractor.scores], real)
