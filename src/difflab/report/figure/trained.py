"""What the figures of a trained run share: its samples as pictures, and their names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from difflab.experiment.picture.tile import tiles
from difflab.experiment.sampling.recipe import Recipe, Trained
from difflab.report.figure.base import Picture, shortened
from difflab.report.text import in_figure

CLOUD = 400  # points that show a density


def pictures(run: Trained, x: Tensor) -> list[Picture]:
    """A picture of each sample that models see; of points one of all."""
    codec = run.data.codec
    return [np.asarray(one) for one in tiles(codec.decode(x), codec)]


def classes_of(run: Trained) -> int:
    """The classes that can be drawn; 0: it is unconditional."""
    return run.recipe.guided(run.denoiser).classes


def check_labels(run: Trained, labels: Sequence[int]) -> None:
    """Raise ValueError for labels that the run does not have."""
    classes = classes_of(run)
    for label in labels:
        if not 0 <= label < max(classes, 1):
            whose = f"{classes} classes, which count from 0" if classes else "one label, 0: it is unconditional"
            raise ValueError(f"label={label} is none of this run's {whose}")


def named(run: Trained, label: int) -> str:
    """The name of a class, or its number where it has none."""
    names = run.data.images.names
    return in_figure(shortened(names[label], 14)) if classes_of(run) and label < len(names) else ""


def many(run: Trained, n: int = 1) -> int:
    """As many samples as are drawn for `n` pictures: those of points take some hundreds."""
    return CLOUD if run.data.codec.cloud else n


def drawn(run: Trained, recipe: Recipe, labels: Tensor, seed: int) -> Tensor:
    """Samples of the labels: images all from the same noise, sample 0 of the seed; points from noise of their own."""
    indices = None if run.data.codec.cloud else [0] * len(labels)
    return recipe.draw(run.denoiser, labels, seed, indices).x


def about(run: Trained) -> str:
    """A sentence that says which run a figure shows, and with how many evaluations."""
    return f"Run {in_figure(run.run.folder.name)}, {run.weights}, {run.recipe.nfe} network evaluations a sample."


def repeated(label: int, n: int) -> Tensor:
    """A label for each of n samples."""
    return torch.full((n,), label)


def grid_name(recipe: Recipe) -> str:
    """The grid in words."""
    return f"{type(recipe.grid).__name__} grid"
