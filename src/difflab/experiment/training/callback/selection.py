"""Distances during the training, by which settings may be chosen or a training be ended early."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import lightning.pytorch as pl
from torch import nn

from difflab.data.images import Split
from difflab.data.labels import in_turn
from difflab.data.module import DataModule
from difflab.denoiser.base import AnyDenoiser
from difflab.experiment.evaluation.protocol import Protocol
from difflab.experiment.parts.identity import BEST, LAST
from difflab.experiment.sampling.recipe import Recipe
from difflab.metric.cache import Cache
from difflab.metric.reference import real_features, scores
from difflab.paradigm.divergence import Diverged
from difflab.paradigm.ema import Averages, averages_of

log = logging.getLogger(__name__)

SEED = 1_000_000  # added to the seed of the noise, so that the final samples are none of those chosen by


class Selection(pl.Callback):
    """At each validation of a fit log `measure` of the averaged model, as `selection/SCORE`.

    With `kept`, the state of the averages, the one with the smallest first score is part of the training's state.
    All processes call `average` and `kept`, because each may hold only a part; the first process measures.
    """

    def __init__(
        self,
        average: Callable[[], nn.Module],
        measure: Callable[[AnyDenoiser], dict[str, float]],
        kept: Callable[[], Mapping[str, Any]] | None = None,
    ) -> None:
        self.average, self.measure, self.kept = average, measure, kept
        self.last: dict[str, float] = {}  # the latest distances
        self.best: dict[str, Any] = {}  # of the best check: `score`, `value`, `step` and `averages`

    def state_dict(self) -> dict[str, Any]:
        """What is kept."""
        return self.best

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with it."""
        self.best = state_dict

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measure."""
        if trainer.state.fn != "fit":
            return
        average, averages = cast(AnyDenoiser, self.average()), self.kept() if self.kept else None
        if trainer.is_global_zero:
            try:
                self.last = found = self.measure(average)
            except Diverged as error:
                log.warning("no distance at step %d: %s", trainer.global_step, error)
                return
            for logger in trainer.loggers:
                row = {f"selection/{name}": value for name, value in found.items()}
                logger.log_metrics(row, trainer.global_step - 1)
            score, value = next(iter(found.items()))
            if averages and value < self.best.get("value", math.inf):
                here = {"score": score, "value": value, "step": trainer.global_step}
                self.best = {**here, "averages": copy.deepcopy(averages)}


def best_in(checkpoint: Mapping[str, Any]) -> tuple[Averages, dict[str, Any]]:
    """What a checkpoint keeps of the check with the smallest score: the averages, and `score`, `value` and `step`.

    Raises Diverged if no check has found one.
    """
    best = dict(checkpoint["callbacks"][Selection.__qualname__])
    if not best:
        raise Diverged("keep=best: the samples of no check have a distance; keep=last keeps the last weights")
    return averages_of(best.pop("averages")), best


def check_keep(config: Mapping[str, Any]) -> None:
    """Raise ValueError for `keep` of another word than last and best, or without what the best are found by."""
    keep, aside = config.get("keep", LAST), config["data"].get("selection")
    if keep not in (LAST, BEST):
        raise ValueError(f"keep={keep}: give {LAST} or {BEST}")
    if keep == BEST and not aside:
        raise ValueError("keep=best chooses by held-out samples, which are then in no reference: data.selection=500")
    if keep == BEST and config["snapshots"]:
        raise ValueError("keep=best goes with snapshots=0: an average of snapshots is one over the whole training")


def chosen_by(config: Mapping[str, Any]) -> str:
    """How the weights of a run were chosen, as its cards have it; empty for the last ones."""
    return f"best of the checks by {config['data']['selection']} held-out samples" if config.get("keep") == BEST else ""


def selection_scores(
    denoiser: AnyDenoiser, recipe: Recipe, protocol: Protocol, data: DataModule, split: Split, cache: Cache
) -> dict[str, float]:
    """The scores of as many samples as a split has, against that split; their noise is no other measurement's."""
    labels = in_turn(len(split), recipe.guided(denoiser).classes, data.images.looked_up(split))
    drawn = recipe.draw(denoiser, labels, protocol.seeds[0] + SEED)
    features = protocol.extractor(data.codec.measure(data.codec.decode(drawn.x)))
    real = real_features(protocol.extractor, Split(data.codec.measure(split.x), split.y), len(split), cache)
    return scores(protocol.extractor, [features[score.layer] for score in protocol.extractor.scores], real)
