"""Sheets of samples and reconstructions while training."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import cast

import lightning.pytorch as pl
import torch
from PIL.Image import Image
from torch import Tensor, nn

from difflab.data.labels import in_turn
from difflab.data.module import DataModule
from difflab.denoiser.base import AnyDenoiser
from difflab.denoiser.contrast import Contrast
from difflab.denoiser.first_stage import Reconstructs
from difflab.experiment.machine.terminal import opening
from difflab.experiment.mirror.base import PictureLogger
from difflab.experiment.picture.files import picture_at, save_png
from difflab.experiment.picture.samples import SEPARATOR, WIDEST, class_names, footer, sample_sheet
from difflab.experiment.picture.sheet import Sheet
from difflab.experiment.picture.similarity import similarity_sheet
from difflab.experiment.picture.tile import tiles
from difflab.experiment.sampling.recipe import Recipe
from difflab.objective.nearness import psnr
from difflab.paradigm.divergence import Diverged

log = logging.getLogger(__name__)

ROWS = 8  # of a sample grid; its columns, too, where classes have no columns
POINTS = 2000  # in a picture of points
COMPARED = 16  # images and texts of a similarity matrix
RECONSTRUCTED = 10  # columns of a sheet of reconstructions, which has two rows of them


class Pictures(pl.Callback):
    """At each validation of a fit `draw` a picture at the step, write it to `folder` by step, and show it on W&B.

    It is shown under the folder's name. All processes call `average`, because each may hold only a part of it; the
    first process draws the picture.
    """

    def __init__(self, average: Callable[[], nn.Module], draw: Callable[[nn.Module, int], Image], folder: Path) -> None:
        self.average, self.draw, self.folder = average, draw, folder
        self.announced = False

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw."""
        if trainer.state.fn != "fit":
            return
        average = self.average()
        if trainer.is_global_zero:
            try:
                image = self.draw(average, trainer.global_step)
            except Diverged as error:
                log.warning("no picture at step %d: %s", trainer.global_step, error)
                return
            path = picture_at(self.folder, trainer.global_step)
            save_png(image, path)
            if not self.announced:
                opening([f"first {self.folder.name}: {path}"])
                self.announced = True
            for logger in trainer.loggers:
                if isinstance(logger, PictureLogger):
                    logger.log_picture(self.folder.name, image, trainer.global_step)


@torch.no_grad()
def reconstruction_sheet(model: Reconstructs, data: DataModule, run: str, title: str) -> Image:
    """The first held-out samples of each class in turn, each above what is decoded of its posterior's mean.

    Its footer names the run and the PSNR of the samples shown.
    """
    codec, split = data.codec, data.held_out
    columns = min(RECONSTRUCTED, len(split))
    rows = taking_turns(split.y, 2 * columns)
    device = next(cast(nn.Module, model).parameters()).device
    x0, label = data.encoded(split, rows).to(device), split.y[rows].to(device)
    found = model.reconstruct(x0, label).clamp(-1, 1)
    names = class_names(data.images.names, data.classes)
    above, below = (tiles(codec.decode(each.cpu()), codec) for each in (x0, found))
    sheet = [line for k in range(0, len(rows), columns) for line in (above[k : k + columns], below[k : k + columns])]
    labels = split.y[rows].tolist()
    captions = [[names[c] for c in labels[k : k + columns]] if names else [] for k in range(0, len(rows), columns)]
    return Sheet(
        sheet,
        captions=[each for row in captions for each in (row, [])],
        row_titles=["original", "reconstruction"] * (len(sheet) // 2),
        title=title,
        footer=SEPARATOR.join([f"run {run}", f"PSNR {float(psnr(found, x0).mean()):.1f} dB", "mean of the posterior"]),
    ).image


@torch.no_grad()
def similarity_matrix(model: Contrast, data: DataModule, run: str, title: str) -> Image:
    """Held-out images, spread over the split, and their captions: which text goes with which image."""
    split = data.held_out
    rows = torch.linspace(0, len(split) - 1, min(COMPARED, len(split))).round().long()
    label = split.y[rows].to(model.device)
    images, texts = model(data.encoded(split, rows).to(model.device), label)
    shown = tiles(split.x[rows], data.codec)
    captions = [data.images.names[k] for k in label.tolist()]
    products = (texts @ images.T).cpu()
    found = float((products.argmax(0) == torch.arange(len(rows))).double().mean())
    below = SEPARATOR.join([f"run {run}", f"{found:.0%} of these images find their text", "darker is nearer"])
    return similarity_sheet(shown, captions, products, title, below).image


def taking_turns(labels: Tensor, n: int) -> Tensor:
    """The places of the first n samples whose classes take turns."""
    seen: Counter[int] = Counter()
    turns = []
    for place, label in enumerate(labels.tolist()):
        turns.append((seen[label], label, place))
        seen[label] += 1
    return torch.tensor([place for *_, place in sorted(turns)[:n]])


def sample_grid(denoiser: AnyDenoiser, recipe: Recipe, seed: int, data: DataModule, run: str, title: str) -> Image:
    """A grid of samples, a class a column unless there are many; of points their density. Its footer names the run."""
    codec, classes = data.codec, recipe.guided(denoiser).classes
    columns = classes if 0 < classes <= WIDEST else ROWS
    n = POINTS if codec.cloud else ROWS * columns
    labels = in_turn(n, classes, data.images.looked_up(data.images.test))
    drawn = recipe.draw(denoiser, labels, seed)
    names, below = class_names(data.images.names, classes), footer(run, recipe, drawn.nfe, seed)
    return sample_sheet(codec.decode(drawn.x), labels, names, codec, title, below).image
