"""What a run makes besides its weights and their held-out loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from PIL.Image import Image
from torch import nn
from typing_extensions import override

from difflab.data.module import DataModule
from difflab.denoiser.base import AnyDenoiser
from difflab.experiment.callback.pictures import Pictures
from difflab.experiment.evaluation import Measurement
from difflab.experiment.picture import picture, save_png
from difflab.experiment.protocol import Protocol, denoising_error
from difflab.experiment.recipe import Recipe, balanced
from difflab.experiment.run import Run
from difflab.paradigm.diffusion import Diffusion

ROWS = 8  # of a sample grid
POINTS = 2000  # in a picture of points


class Product:
    """Nothing more."""

    def dry_run(self) -> None:
        """See that it can be had. Raises ValueError if it cannot."""

    def pictures(self, weights: Callable[[], nn.Module]) -> Sequence[Pictures]:
        """The callbacks that show it in training, as `weights` then are."""
        return ()

    def finish(self) -> dict[str, Any]:
        """Show it, now that the model has its final weights, and tell what there is to tell; plain values."""
        return {}

    def measurements(self, weights: str) -> Sequence[Measurement]:
        """The ways in which it is to be measured, with the weights of this name."""
        return ()


@dataclass(frozen=True)
class Generated(Product):
    """Samples, drawn by a recipe and measured by a protocol; `about` as in `Measurement`."""

    run: Run
    model: Diffusion
    data: DataModule
    recipe: Recipe
    protocol: Protocol
    cache: Path
    about: Mapping[str, Any]

    @override
    def dry_run(self) -> None:
        self.recipe.dry_run(self.model.denoiser)
        self.protocol.dry_run(self.data)

    @override
    def pictures(self, weights: Callable[[], nn.Module]) -> Sequence[Pictures]:
        return (Pictures(lambda: self.picture(cast(AnyDenoiser, weights())), self.run.folder / "samples"),)

    @override
    def finish(self) -> dict[str, Any]:
        save_png(self.picture(self.model.denoiser), self.run.folder / "samples" / "final.png")
        return {"denoising_error": denoising_error(self.model, self.data)}

    @override
    def measurements(self, weights: str) -> Sequence[Measurement]:
        model, data, recipe, protocol = self.model, self.data, self.recipe, self.protocol
        each = protocol.seeds if protocol.n else ()
        return [
            Measurement(self.run, model, weights, data, recipe, protocol, seed, self.cache, self.about) for seed in each
        ]

    def picture(self, denoiser: AnyDenoiser) -> Image:
        """A grid of samples, a class a column; of points their density."""
        columns, codec = self.data.classes or ROWS, self.data.codec
        labels = balanced(POINTS if codec.cloud else ROWS * columns, self.recipe.guided(denoiser).classes)
        drawn = self.recipe.draw(denoiser, labels, self.protocol.seeds[0])
        return picture(codec.decode(drawn.x), columns, codec)
