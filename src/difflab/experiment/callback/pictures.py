"""Sample grids while training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import lightning.pytorch as pl
from PIL.Image import Image

from difflab.experiment.picture import save_png
from difflab.experiment.wandb_mirror import Mirror


class Pictures(pl.Callback):
    """At each validation of a fit draw a picture, write it to `folder` by step, and show it on W&B."""

    def __init__(self, draw: Callable[[], Image], folder: Path) -> None:
        self.draw, self.folder = draw, folder

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw."""
        if trainer.is_global_zero and trainer.state.fn == "fit":
            image = self.draw()
            save_png(image, self.folder / f"step-{trainer.global_step:07d}.png")
            for logger in trainer.loggers:
                if isinstance(logger, Mirror):
                    logger.log_picture("samples", image, trainer.global_step)
