"""What a run makes besides its weights and their held-out loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from PIL.Image import Image
from torch import nn
from typing_extensions import override

from difflab.callback.pictures import Pictures
from difflab.callback.progress import Drawing
from difflab.data.images import to_stored
from difflab.data.module import DataModule
from difflab.denoiser import AnyDenoiser
from difflab.evaluation import Protocol, evaluate
from difflab.paradigm.diffusion import Diffusion
from difflab.picture import picture, save_png
from difflab.sampling import Recipe, balanced

ROWS = 8  # of a sample grid
POINTS = 2000  # in a picture of points


class Product:
    """Nothing more."""

    def rehearse(self) -> None:
        """See that it can be had. Raises ValueError if it cannot."""

    def pictures(self, weights: Callable[[], nn.Module]) -> Sequence[Pictures]:
        """The callbacks that show it in training, as `weights` then are."""
        return ()

    def measure(self, weights: str) -> dict[str, Any]:
        """Measure it, now that the model has its final weights, of this name; plain values."""
        return {}


@dataclass(frozen=True)
class Generated(Product):
    """Samples, drawn by a recipe and measured by a protocol; pictures of them in `folder`."""

    model: Diffusion
    data: DataModule
    recipe: Recipe
    protocol: Protocol
    folder: Path
    cache: Path

    @override
    def rehearse(self) -> None:
        self.recipe.rehearse(self.model.denoiser)
        self.protocol.rehearse(self.data)

    @override
    def pictures(self, weights: Callable[[], nn.Module]) -> Sequence[Pictures]:
        return (Pictures(lambda: self.picture(cast(AnyDenoiser, weights())), self.folder),)

    @override
    def measure(self, weights: str) -> dict[str, Any]:
        save_png(self.picture(self.model.denoiser), self.folder / "final.png")
        if not self.protocol.n:
            return {}
        with Drawing("measuring", self.protocol.n) as progress:
            return evaluate(self.model, weights, self.data, self.recipe, self.protocol, self.cache, progress)

    def picture(self, denoiser: AnyDenoiser) -> Image:
        """A grid of samples, a class a column; of points their density."""
        columns = self.data.classes or ROWS
        n = ROWS * columns if len(denoiser.shape) > 1 else POINTS
        labels = balanced(n, self.recipe.guided(denoiser).classes)
        return picture(to_stored(self.recipe.draw(denoiser, labels, self.protocol.seed).x), columns)
