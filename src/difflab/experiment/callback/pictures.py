"""Sample grids while training."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import cast

import lightning.pytorch as pl
from PIL.Image import Image
from torch import nn

from difflab.data.module import DataModule
from difflab.denoiser.base import AnyDenoiser
from difflab.experiment.mirror import PictureLogger
from difflab.experiment.picture.files import save_png
from difflab.experiment.picture.samples import WIDEST, class_names, footer, sample_sheet
from difflab.experiment.recipe import Recipe, balanced
from difflab.paradigm.divergence import Diverged

log = logging.getLogger(__name__)

ROWS = 8  # of a sample grid; its columns, too, where classes have no columns
POINTS = 2000  # in a picture of points


class Pictures(pl.Callback):
    """At each validation of a fit `draw` a picture at the step, write it to `folder` by step, and show it on W&B.

    All processes call `average`, because each may hold only a part of it; the first process draws the picture.
    """

    def __init__(
        self, average: Callable[[], nn.Module], draw: Callable[[AnyDenoiser, int], Image], folder: Path
    ) -> None:
        self.average, self.draw, self.folder = average, draw, folder

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw."""
        if trainer.state.fn != "fit":
            return
        average = cast(AnyDenoiser, self.average())
        if trainer.is_global_zero:
            try:
                image = self.draw(average, trainer.global_step)
            except Diverged as error:
                log.warning("no picture at step %d: %s", trainer.global_step, error)
                return
            save_png(image, self.folder / f"step-{trainer.global_step:07d}.png")
            for logger in trainer.loggers:
                if isinstance(logger, PictureLogger):
                    logger.log_picture("samples", image, trainer.global_step)


def sample_grid(denoiser: AnyDenoiser, recipe: Recipe, seed: int, data: DataModule, run: str, title: str) -> Image:
    """A grid of samples, a class a column unless there are many; of points their density. Its footer names the run."""
    codec, classes = data.codec, recipe.guided(denoiser).classes
    columns = classes if 0 < classes <= WIDEST else ROWS
    labels = balanced(POINTS if codec.cloud else ROWS * columns, classes)
    drawn = recipe.draw(denoiser, labels, seed)
    names, below = class_names(data.images.names, classes), footer(run, recipe, drawn.nfe, seed)
    return sample_sheet(codec.decode(drawn.x), labels, names, codec, title, below).image
