"""The same noise by several samplers, at few and at many network evaluations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

from matplotlib.figure import Figure
from torch import Tensor

from difflab.experiment.sampling.recipe import Trained
from difflab.report.figure.base import Drawing, Picture, grid_height, picture_grid
from difflab.report.figure.trained import check_labels, drawn, grid_name, many, pictures, repeated
from difflab.report.text import in_figure
from difflab.sampler.base import Sampler
from difflab.sampler.heun import Heun

CONVERGED = 160  # network evaluations of the sample that errors are measured against


@dataclass(frozen=True)
class Samplers(Drawing):
    """A run's sample by each sampler (rows) and number of evaluations (columns), with its distance from the ODE's end.

    nfe: network evaluations. label: the class. seed: of the noise. Raises ValueError for a label that is not there.
    """

    run: Trained
    sampler: Mapping[str, Sampler]
    nfe: tuple[int, ...] = (2, 5, 10, 20, 50)
    label: int = 0
    seed: int = 0
    title: ClassVar[str] = "One noise, several samplers"
    options: ClassVar[Mapping[str, str]] = {"sampler": "euler,ddim,heun,dpm_solver_pp,ancestral"}

    def __post_init__(self) -> None:
        check_labels(self.run, [self.label])
        for sampler in self.sampler.values():
            replace(self.run.recipe, sampler=sampler, nfe=max(self.nfe), path=None).dry_run(self.run.denoiser)

    @property
    def caption(self) -> str:
        """What is shown, with its formula."""
        return (
            "Columns: network evaluations (NFE) a sample. Under each: $\\|x-x^*\\|/\\|x^*\\|$, where $x^*$ is the end "
            f"of the probability flow from the same noise, by Heun with {CONVERGED} evaluations. A stochastic sampler "
            "does not go there, and has no such error. An empty place: the evaluations do not pay for one step. Run "
            f"{in_figure(self.run.run.folder.name)}, {self.run.weights}, {grid_name(self.run.recipe)}."
        )

    def sample(self, sampler: Sampler, nfe: int) -> Tensor | None:
        """The samples by a sampler; None where the evaluations do not pay for a step."""
        recipe = replace(self.run.recipe, sampler=sampler, nfe=nfe, path=None)
        try:
            recipe.times(self.run.denoiser)
        except ValueError:  # at the largest number of evaluations the same recipe was found to work
            return None
        return drawn(self.run, recipe, repeated(self.label, many(self.run)), self.seed)

    @cached_property
    def cells(self) -> list[tuple[list[Picture | None], list[str]]]:
        """For each sampler its pictures and what stands under them."""
        end = self.sample(Heun(), CONVERGED)
        assert end is not None
        rows = []
        for sampler in self.sampler.values():
            found = [self.sample(sampler, nfe) for nfe in self.nfe]
            notes = [
                ""
                if x is None
                else "stochastic"
                if sampler.stochastic
                else f"{float((x - end).norm() / end.norm()):.2g}"
                for x in found
            ]
            rows.append(([None if x is None else pictures(self.run, x)[0] for x in found], notes))
        return rows

    def draw(self) -> Figure:
        """Draw a row for each sampler."""
        columns = [f"NFE {nfe}" for nfe in self.nfe]
        figure = self.canvas(grid_height(len(self.sampler), len(columns), 1, MARGIN))
        picture_grid(
            figure, [row for row, _ in self.cells], [*self.sampler], columns, [n for _, n in self.cells], MARGIN
        )
        return figure


MARGIN = 1.4  # inches, for the names of samplers
