"""A run's samples as one number of the recipe varies: the guidance scale, or DDIM's eta."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import torch
from matplotlib.figure import Figure

from difflab.experiment.parts.identity import line
from difflab.experiment.sampling.recipe import Recipe, Trained
from difflab.guidance.base import Chain
from difflab.guidance.classifier_free import ClassifierFree
from difflab.report.figure.base import Drawing, Picture, grid_height, picture_grid
from difflab.report.figure.trained import about, check_labels, classes_of, drawn, many, named, pictures, repeated
from difflab.report.record import Record, read_records
from difflab.sampler.ddim import DDIM

ROWS = 5  # classes that are shown where none are named


@dataclass(frozen=True)
class Varied(Drawing):
    """Base class: a column for each value, a row for each class, all from the same noise.

    label: the classes; empty: the first five. seed: of the noise.
    """

    run: Trained
    label: tuple[int, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        check_labels(self.run, self.label)
        for recipe in self.columns().values():
            recipe.guided(self.run.denoiser)  # refused now

    @abstractmethod
    def columns(self) -> dict[str, Recipe]:
        """A recipe for each value, by its title."""

    @property
    def labels(self) -> Sequence[int]:
        """The classes of the rows; the null label, 0, where there are none."""
        return self.label or range(max(1, min(ROWS, classes_of(self.run))))

    @cached_property
    def cells(self) -> list[list[Picture]]:
        """The pictures, row by row; of points each a density."""
        run, recipes = self.run, self.columns().values()
        if run.data.codec.cloud:
            rows = [[drawn(run, r, repeated(label, many(run)), self.seed) for r in recipes] for label in self.labels]
            return [[pictures(run, x)[0] for x in row] for row in rows]
        each = [pictures(run, drawn(run, recipe, torch.tensor(self.labels), self.seed)) for recipe in recipes]
        return [list(row) for row in zip(*each, strict=True)]

    def notes(self) -> list[str]:
        """What stands under each column."""
        return [""] * len(self.columns())

    def draw(self) -> Figure:
        """Draw a row for each class."""
        columns, notes = self.columns(), self.notes()
        under = [[""] * len(columns)] * (len(self.labels) - 1) + [notes]
        lines = max(note.count("\n") + 1 if note else 0 for note in notes)
        figure = self.canvas(grid_height(len(self.labels), len(columns), 0) + 0.2 * lines)
        rows = [named(self.run, label) or str(label) for label in self.labels]
        picture_grid(figure, self.cells, rows, [*columns], under if lines else ())
        return figure


@dataclass(frozen=True)
class Guidance(Varied):
    """One noise by guidance scale (columns) and class (rows), with what was measured at each scale below.

    scale: of the run's own guidance where it has one, else of classifier-free guidance. label: the classes; empty: the
    first five. seed: of the noise. Raises ValueError for a run without classes.
    """

    scale: tuple[float, ...] = (1.0, 1.5, 2.0, 3.0, 5.0, 8.0)
    title: ClassVar[str] = "Guidance from weak to strong"

    def __post_init__(self) -> None:
        if not classes_of(self.run):
            raise ValueError(f"{self.run.run.folder.name} is unconditional: choose a run with classes")
        super().__post_init__()

    @property
    def caption(self) -> str:
        """What is shown, with its formula."""
        measured = "Below, what was measured at this scale. " if any(self.notes()) else ""
        return (
            r"$\tilde\varepsilon=\varepsilon_\varnothing+s\,(\varepsilon_y-\varepsilon_\varnothing)$, of the estimates "
            r"with the class $y$ and without: the scale $s=1$ is no guidance; larger ones make samples more typical of "
            f"their class, and less various. All pictures are from the same noise. {measured}{about(self.run)}"
        )

    def columns(self) -> dict[str, Recipe]:
        """The recipe at each scale."""
        return {f"s = {scale:g}": scaled(self.run.recipe, scale) for scale in self.scale}

    def notes(self) -> list[str]:
        """Class accuracy and recall at each scale, where the run has an evaluation of it."""
        records = read_records([self.run.run], lambda error: None)
        return [measured(records, recipe) for recipe in self.columns().values()]


def scaled(recipe: Recipe, scale: float) -> Recipe:
    """A recipe whose guidance has a scale; classifier-free guidance where there is none."""
    parts: Any = recipe.guidance.parts
    if not any(hasattr(part, "scale") for part in parts):
        return replace(recipe, guidance=Chain((ClassifierFree(scale),)))
    return replace(recipe, guidance=Chain(tuple(replace(p, scale=scale) if hasattr(p, "scale") else p for p in parts)))


def measured(records: Sequence[Record], recipe: Recipe) -> str:
    """Class accuracy and recall of the first evaluation with the guidance of a recipe; empty if there is none."""
    guidance = ", ".join(map(line, recipe.chain.parts))
    for record in records:
        if record.card.guidance == guidance:
            found = {"accuracy": "class_accuracy", "recall": "recall_"}
            lines = []
            for word, key in found.items():
                value = next(
                    (v for name, v in record.metrics.items() if name.startswith(key) and not name.endswith("floor")),
                    None,
                )
                if value is not None:
                    lines.append(f"{word} {value:.2f}")
            return "\n".join(lines)
    return ""


@dataclass(frozen=True)
class Eta(Varied):
    """One noise from DDIM (eta = 0) to DDPM's ancestral steps (eta = 1), a row for each class.

    eta: the values. label: the classes; empty: the first five. seed: of the noise. Raises ValueError for an eta outside
    [0, 1], and for a label that is not there.
    """

    eta: tuple[float, ...] = (0.0, 0.2, 0.5, 0.8, 1.0)
    title: ClassVar[str] = "From DDIM to DDPM"

    @property
    def caption(self) -> str:
        """What is shown, with its formula."""
        return (
            r"$x_s=\alpha_s\hat x_0+\sqrt{\sigma_s^2-k^2}\,\hat\varepsilon+k\,z$ with $k^2=\eta^2\,\mathrm{Var}\,"
            r"q(x_s\,|\,x_t,x_0)$. At $\eta=0$ the noise that a sample starts from decides the whole picture; at "
            rf"$\eta=1$ each step draws new noise, and little of the first is left. {about(self.run)}"
        )

    def columns(self) -> dict[str, Recipe]:
        """The recipe at each eta."""
        return {f"η = {eta:g}": replace(self.run.recipe, sampler=DDIM(eta), path=None) for eta in self.eta}
