"""The pictures of the page: a matrix for each kind, a row for each series and a column for each number of evaluations.

All evaluations start from the same noise, so what stands in one place of two pictures is one sample, made in two ways.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from PIL import Image

from difflab.experiment.picture import MODES
from difflab.report.factors import spoken
from difflab.report.study import Cell, Group, Study

MOMENTS = 12  # columns of a picture of steps
GAP = 2  # pixels around each tile of a sheet


@dataclass(frozen=True)
class Row:
    """The cells of a series that have a picture, by their number of evaluations; `factors` filter it."""

    label: str
    factors: Mapping[str, str]
    cells: Mapping[float, Cell]


@dataclass(frozen=True)
class Gallery:
    """The pictures of one kind: of the first of a cell's seeds, where there are several."""

    kind: str
    rows: tuple[Row, ...]
    guidances: tuple[str, ...]  # what a slider walks through; empty unless it varies
    moments: ClassVar[int] = MOMENTS

    def uri(self, cell: Cell) -> str:
        """A cell's picture as data."""
        data = cell.evaluations[0].pictures[self.kind].read_bytes()
        return f"data:image/png;base64,{base64.b64encode(data).decode()}"

    def sprite(self, cell: Cell) -> Sprite:
        """The geometry of a cell's picture of steps."""
        evaluation = cell.evaluations[0]
        return Sprite.of(evaluation.pictures[self.kind], tuple(evaluation.config["data"]["shape"]))


@dataclass(frozen=True)
class Sprite:
    """A sheet of tiles of one size, to be seen a tile at a time."""

    size: tuple[int, int]
    tile: tuple[float, float]
    rows: int

    @classmethod
    def of(cls, path: Path, shape: tuple[int, ...]) -> Sprite:
        """That of a picture of steps of samples of this shape; points are drawn on a square."""
        with Image.open(path) as image:
            width, height = image.size
        aspect = 1.0
        if len(shape) == 3:  # where the channels are no colours they stand side by side
            aspect = shape[2] * (1 if shape[0] in MODES else shape[0]) / shape[1]
        across = (width - GAP) / MOMENTS - GAP
        down = across / aspect
        return cls((width, height), (across, down), round((height - GAP) / (down + GAP)))

    @property
    def style(self) -> str:
        """What the style sheet needs to know: sizes by the tile's, places by the room that the tile leaves."""
        (width, height), (across, down) = self.size, self.tile
        values = {
            "aspect": across / down,
            "wide": width / across,
            "high": height / down,
            "left": GAP / (width - across),
            "across": (across + GAP) / (width - across),
            "top": GAP / (height - down),
            "down": (down + GAP) / (height - down),
        }
        return ";".join(f"--{name}:{value:.5f}" for name, value in values.items())


def gallery(study: Study, group: Group, kind: str) -> Gallery:
    """The pictures of a group of one kind."""
    guidances = {cell.factors["guidance"]: None for cell in group.cells} if "guidance" in study.told else {}
    walked = tuple(sorted(guidances, key=numbers)) if len(guidances) > 1 else ()
    said = [key for key in study.told if not (walked and key == "guidance")]
    rows = []
    for cells in study.series(group).values():
        factors = cells[0].factors
        label = spoken(factors, said) or factors["paradigm"]
        shown = {cell.nfe: cell for cell in cells if kind in cell.evaluations[0].pictures}
        rows.append(Row(label, {key: factors[key] for key in study.varied}, shown))
    return Gallery(kind, tuple(row for row in rows if row.cells), walked)


def numbers(text: str) -> tuple[list[float], str]:
    """What orders settings: the numbers in them, then their words."""
    return [float(part) for part in re.findall(r"\d+(?:\.\d+)?", text)], text
