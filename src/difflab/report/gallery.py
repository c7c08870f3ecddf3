"""The pictures of the page: a matrix for each kind, with a row for each series and a column for each NFE.

All evaluations start from the same noise: the same place in two pictures shows one sample, drawn in two ways.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import ClassVar

from PIL import Image

from difflab.experiment.picture.files import bare
from difflab.experiment.picture.sheet import GAP
from difflab.experiment.picture.tile import MODES
from difflab.report.cell import Cell
from difflab.report.factors import factor_label
from difflab.report.group import Group
from difflab.report.study import Study

MOMENTS = 12  # columns of a picture of steps


@dataclass(frozen=True)
class Row:
    """The cells of a series that have a picture, by NFE. The page filters the row by `factors`."""

    label: str
    guidance: str  # its factors of guidance as one label; empty unless the guidance varies
    factors: Mapping[str, str]
    cells: Mapping[float, Cell]


@dataclass(frozen=True)
class Gallery:
    """The pictures of one kind; of a cell with several seeds, those of the first."""

    kind: str
    rows: tuple[Row, ...]
    guidances: tuple[str, ...]  # the positions of a slider; empty unless the guidance varies
    guided_by: tuple[str, ...]  # the factors of guidance that vary
    moments: ClassVar[int] = MOMENTS

    def uri(self, cell: Cell) -> str:
        """A cell's picture as a data URI, without the texts around its tiles: the page has its own."""
        data = BytesIO()
        with Image.open(cell.records[0].pictures[self.kind]) as image:
            bare(image).save(data, "PNG")
        return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"

    def classes(self, cell: Cell) -> tuple[str, ...]:
        """The names of the classes above the columns of a picture of samples; none if they are not known.

        Balanced labels are a class for each column.
        """
        record = cell.records[0]
        named = tuple(record.summary.classes)
        known = self.kind == "samples" and record.card.labels == "balanced"
        return named if known and len(named) == record.config["data"]["classes"] else ()

    def sprite(self, cell: Cell) -> Sprite:
        """The geometry of a cell's picture of steps."""
        record = cell.records[0]
        return Sprite.of(record.pictures[self.kind], tuple(record.config["data"]["shape"]))


@dataclass(frozen=True)
class Sprite:
    """A sheet of tiles of one size, of which the page shows one column at a time."""

    size: tuple[int, int]
    tile: tuple[float, float]
    rows: int

    @classmethod
    def of(cls, path: Path, shape: tuple[int, ...]) -> Sprite:
        """The sprite of a picture of steps, for samples of this shape; points are drawn on a square."""
        with Image.open(path) as image:
            width, height = bare(image).size
        aspect = 1.0
        if len(shape) == 3:  # channels that are not colours stand side by side
            aspect = shape[2] * (1 if shape[0] in MODES else shape[0]) / shape[1]
        across = (width - GAP) / MOMENTS - GAP
        down = across / aspect
        return cls((width, height), (across, down), round((height - GAP) / (down + GAP)))

    @property
    def style(self) -> str:
        """The variables of the style sheet: sizes over the tile's size, offsets over the rest of the sheet."""
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
    keys = study.distinguishing
    guided_by = tuple(key for key in keys if key.partition(".")[0] == "guidance")
    values = {factor_label(cell.factors, guided_by) for cell in group.cells}
    guidances = tuple(sorted(values, key=by_numbers)) if len(values) > 1 else ()
    named = [key for key in keys if not (guidances and key in guided_by)]
    rows = []
    for cells in study.series(group).values():
        factors = cells[0].factors
        label = factor_label(factors, named) or factor_label(factors, ["paradigm"])
        pictured = {cell.nfe: cell for cell in cells if kind in cell.records[0].pictures}
        chosen = factor_label(factors, guided_by) if guidances else ""
        rows.append(Row(label, chosen, {key: factors[key] for key in study.varied}, pictured))
    return Gallery(kind, tuple(row for row in rows if row.cells), guidances, guided_by)


def by_numbers(text: str) -> tuple[list[float], str]:
    """The key that sorts settings: the numbers in them, then their words."""
    return [float(part) for part in re.findall(r"\d+(?:\.\d+)?", text)], text
