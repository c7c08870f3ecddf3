"""A sheet: rows of tiles, with titles, axes and a footer around them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from PIL import Image, ImageDraw

from difflab.experiment.picture.files import LAYOUT
from difflab.experiment.picture.text import Box, Label, centred, line_height, number, stacked, width_of, wrapped

GAP = 2  # pixels around each tile
MARGIN = 10  # pixels around the sheet
SPACE = 8  # pixels between the tiles and the texts beside, above and below them
LEAST = 420  # pixels across, so that a title and a footer can be read
SMALLEST = 64  # pixels to which the shorter side of a tile is enlarged
TITLE, TEXT = 16, 12  # sizes of text in pixels
LINE = line_height(TEXT)
CAPTION_LINES = 4  # of text above a tile, at most
ROW_TITLE = 112  # pixels that the title of a row may be wide
TICK = 4  # pixels that a tick is long
APART = 40  # pixels between two ticks, at least
FOOTER, AXIS, FRAME = "#595959", "#a0a0a0", "#e0e0e0"  # colours


@dataclass(frozen=True)
class Sheet:
    """Rows of tiles of one size, enlarged by whole pixels, and the texts that a reader needs around them.

    - captions: a row of short texts for each row of tiles, one above each tile; those of the first row are the titles
      of the columns. Rows at the end may be left out.
    - row_titles: a short text for each row.
    - title, footer: texts above and below all tiles.
    - extent: the tiles show the square -extent..extent, and get axes with ticks.

    Texts are wrapped, and cut with an ellipsis where there is no more room: no two of them overlap.
    """

    rows: Sequence[Sequence[Image.Image]]
    captions: Sequence[Sequence[str]] = ()
    row_titles: Sequence[str] = ()
    title: str = ""
    footer: str = ""
    extent: float | None = None

    @cached_property
    def tile(self) -> tuple[int, int]:
        """Width and height of a tile, enlarged."""
        width, height = self.rows[0][0].size
        zoom = max(1, -(-SMALLEST // min(width, height)))
        return width * zoom, height * zoom

    @cached_property
    def tiles(self) -> list[list[Box]]:
        """The places of the tiles."""
        width, height = self.tile
        top, boxes = bottom_of(self._heading, MARGIN) + (SPACE if self._heading else 0), []
        for k, row in enumerate(self.rows):
            top += LINE * max(map(len, self._captions[k]), default=0) + GAP
            lefts = [self._left + GAP + column * (width + GAP) for column in range(len(row))]
            boxes.append([(left, top, left + width, top + height) for left in lefts])
            top += height
        return boxes

    @cached_property
    def area(self) -> Box:
        """The rectangle of all tiles and their gaps. The only texts in it are captions below the first row."""
        return self._left, self.tiles[0][0][1] - GAP, self._left + self._across, self.tiles[-1][0][3] + GAP

    @cached_property
    def labels(self) -> list[Label]:
        """All texts, line by line."""
        return [*self._heading, *self._above, *self._beside, *self._numbers, *self._closing]

    @cached_property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture."""
        return self._width, bottom_of(self.labels, self.area[3]) + MARGIN

    @cached_property
    def image(self) -> Image.Image:
        """The picture. Its `info` holds the places of tiles and texts, which `save_png` writes too."""
        canvas = Image.new("RGBA" if self.rows[0][0].mode == "RGBA" else "RGB", self.size, "white")
        draw = ImageDraw.Draw(canvas)
        for row, boxes in zip(self.rows, self.tiles, strict=True):
            for one, (left, top, right, bottom) in zip(row, boxes, strict=True):
                canvas.paste(one.resize(self.tile, Image.Resampling.NEAREST), (left, top))
                draw.rectangle((left - 1, top - 1, right, bottom), outline=AXIS if self.extent else FRAME)
        for mark in self._marks:
            draw.line(mark, fill=AXIS)
        for label in self.labels:
            label.draw(draw)
        labels = [{"text": label.text, "box": label.box} for label in self.labels]
        canvas.info[LAYOUT] = json.dumps({"area": self.area, "tiles": self.tiles, "labels": labels})
        return canvas

    @cached_property
    def _across(self) -> int:
        """The width of the tiles and their gaps."""
        return max(map(len, self.rows)) * (self.tile[0] + GAP) + GAP

    @cached_property
    def _left(self) -> int:
        """The left edge of the tiles, to the right of the titles of rows and the numbers of axes."""
        titles = max((width_of(line, TEXT) + SPACE for lines in self._row_titles for line in lines), default=0)
        numbers = max((width_of(number(tick), TEXT) + TICK + GAP for tick in self._ticks), default=0)
        return MARGIN + titles + numbers

    @cached_property
    def _width(self) -> int:
        return max(LEAST, self._left + self._across + MARGIN)

    @cached_property
    def _captions(self) -> list[list[list[str]]]:
        """The lines above each tile, by rows."""
        given = [*self.captions, *[()] * (len(self.rows) - len(self.captions))]
        return [[wrapped(text, self.tile[0] - GAP, TEXT, CAPTION_LINES) for text in texts] for texts in given]

    @cached_property
    def _row_titles(self) -> list[list[str]]:
        """The lines beside each row."""
        return [wrapped(text, ROW_TITLE, TEXT, self.tile[1] // LINE) for text in self.row_titles]

    @cached_property
    def _ticks(self) -> list[float]:
        """The values at which the axes have ticks."""
        return ticks(self.extent, min(self.tile)) if self.extent else []

    @cached_property
    def _heading(self) -> list[Label]:
        return stacked(wrapped(self.title, self._width - 2 * MARGIN, TITLE), MARGIN, MARGIN, TITLE)

    @cached_property
    def _above(self) -> list[Label]:
        """The captions, which end where their tiles begin."""
        return [
            label
            for texts, boxes in zip(self._captions, self.tiles, strict=True)
            for lines, (left, top, right, _) in zip(texts, boxes, strict=False)
            for label in centred(lines, (left + right) / 2, top - GAP - LINE * len(lines), TEXT)
        ]

    @cached_property
    def _beside(self) -> list[Label]:
        """The titles of rows, at half the height of their tiles."""
        return [
            label
            for lines, ((_, top, _, bottom), *_) in zip(self._row_titles, self.tiles, strict=False)
            for label in stacked(lines, MARGIN, (top + bottom - LINE * len(lines)) // 2, TEXT)
        ]

    @cached_property
    def _places(self) -> list[tuple[str, int, int]]:
        """The number of each tick, and how far it is from the left edge and from the upper edge of a tile."""
        width, height = self.tile
        shares = [(1 + tick / (self.extent or 1)) / 2 for tick in self._ticks]
        names = map(number, self._ticks)
        return [(name, round(u * width), round((1 - u) * height)) for name, u in zip(names, shares, strict=True)]

    @cached_property
    def _numbers(self) -> list[Label]:
        """The numbers of the axes: to the left of each row, and below the last row."""
        upright = [
            Label(text, left - TICK - GAP - width_of(text, TEXT), top + down - LINE // 2, TEXT)
            for (left, top, _, _), *_ in self.tiles
            for text, _, down in self._places
        ]
        level = [
            label
            for left, _, _, bottom in self.tiles[-1]
            for text, right, _ in self._places
            for label in centred([text], left + right, bottom + TICK + GAP, TEXT)
        ]
        return upright + level

    @cached_property
    def _marks(self) -> list[Box]:
        """The ticks, as lines from one point to another."""
        upright = [
            (left - TICK, top + down, left - 1, top + down)
            for (left, top, _, _), *_ in self.tiles
            for _, _, down in self._places
        ]
        level = [
            (left + right, bottom, left + right, bottom + TICK - 1)
            for left, _, _, bottom in self.tiles[-1]
            for _, right, _ in self._places
        ]
        return upright + level

    @cached_property
    def _closing(self) -> list[Label]:
        top = bottom_of(self._numbers, self.area[3]) + SPACE
        return stacked(wrapped(self.footer, self._width - 2 * MARGIN, TEXT), MARGIN, top, TEXT, FOOTER)


def bottom_of(labels: Sequence[Label], otherwise: int) -> int:
    """The row of pixels below all of the labels, and `otherwise` at least."""
    return max([otherwise, *(label.box[3] for label in labels)])


def ticks(extent: float, side: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten inside -extent..extent, so far apart that their numbers fit."""
    smallest = math.floor(math.log10(extent)) - 1
    for step in (base * 10.0**power for power in range(smallest, smallest + 4) for base in (1, 2, 5)):
        most = int(0.85 * extent / step)
        values = [k * step for k in range(-most, most + 1)]
        apart = step / (2 * extent) * side
        if apart >= max(APART, *(width_of(number(value), TEXT) + SPACE for value in values)):
            return values
    return [0.0]
