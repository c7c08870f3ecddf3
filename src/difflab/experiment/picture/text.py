"""Text in pictures: the font, lines that fit a width, and the boxes that they fill."""

from __future__ import annotations

import functools
import importlib.util
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import ImageDraw, ImageFont

ELLIPSIS = "…"
PIECES = re.compile(r"[^/_=\-]*[/_=\-]?")  # of a word that is too wide, which may be broken after / _ = and -

Box = tuple[int, int, int, int]  # left, top, right, bottom; right and bottom are the first pixels outside


@functools.cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib and has arrows, Greek letters and accents."""
    found = importlib.util.find_spec("matplotlib")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("pictures take their font from matplotlib: pip install matplotlib")
    path = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


def line_height(size: int) -> int:
    """The pixels from one line to the next."""
    return sum(font(size).getmetrics())


def width_of(text: str, size: int) -> int:
    """The pixels that a line takes."""
    return max(math.ceil(font(size).getlength(text)), math.ceil(font(size).getbbox(text)[2]))


def shortened(text: str, width: int, size: int) -> str:
    """The text if it fits the width, or else its beginning and an ellipsis."""
    if width_of(text, size) <= width:
        return text
    end = next((k for k in range(len(text) - 1, 0, -1) if width_of(text[:k] + ELLIPSIS, size) <= width), 0)
    return text[:end].rstrip() + ELLIPSIS if end or width_of(ELLIPSIS, size) <= width else ""


def wrapped(text: str, width: int, size: int, most: int = 100) -> list[str]:
    """The text in at most `most` lines that fit the width. What does not fit is replaced by an ellipsis."""
    lines: list[str] = []
    for paragraph in filter(str.strip, text.split("\n")):
        line = ""
        for word in re.split(r"[ \t\r\f\v]+", paragraph.strip()):  # a no-break space does not end a word
            fits = width_of(word, size) <= width
            for k, piece in enumerate([word] if fits else filter(None, PIECES.findall(word))):
                longer = line + (" " if line and not k else "") + piece
                if line and width_of(longer, size) > width:
                    lines.append(line)
                    longer = piece
                line = longer
        lines.append(line)
    if len(lines) > most:
        lines = [*lines[: most - 1], lines[most - 1] + ELLIPSIS] if most else []
    return [shortened(line, width, size) for line in lines]


@dataclass(frozen=True)
class Label:
    """One line of text in a picture: its upper left corner, its size in pixels, and its colour."""

    text: str
    left: int
    top: int
    size: int
    colour: str = "black"

    @property
    def box(self) -> Box:
        """The pixels that it takes."""
        return (self.left, self.top, self.left + width_of(self.text, self.size), self.top + line_height(self.size))

    def draw(self, canvas: ImageDraw.ImageDraw) -> None:
        """Draw it."""
        canvas.text((self.left, self.top), self.text, self.colour, font(self.size))


def stacked(lines: Sequence[str], left: int, top: int, size: int, colour: str = "black") -> list[Label]:
    """Lines below each other, from the same left edge."""
    return [Label(line, left, top + k * line_height(size), size, colour) for k, line in enumerate(lines)]


def centred(lines: Sequence[str], middle: float, top: int, size: int) -> list[Label]:
    """Lines below each other, each centred on the column `middle`."""
    starts = [round(middle - width_of(line, size) / 2) for line in lines]
    return [
        Label(line, start, top + k * line_height(size), size)
        for k, (line, start) in enumerate(zip(lines, starts, strict=True))
    ]


def number(value: float) -> str:
    """A number in a title, with three digits, or all digits of a whole number of up to five."""
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:.0f}" if 100 <= abs(value) < 99999.5 else f"{value + 0.0:.3g}"
    return text.replace("-", "−")
