"""What all figures share: a canvas with title and caption, grids of pictures, a light and a dark theme, and files."""

from __future__ import annotations

import re
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from difflab.report.print import PRINT, print_figure

WIDTH = 6.3  # inches: a page's text
SMALL, NOTE = 7.0, 6.0  # points: of captions and of notes under pictures
LINE = 1.25 / 72  # inches of a line of text for each point of its size
TITLE, LEGEND = 0.34, 0.19  # inches of the title, and of a line of legends below it
FORMATS = ("svg", "pdf", "png")
LARGEST = 0.8  # inches of a picture in a grid
INK = {"light": ("#ffffff", "#1f2328"), "dark": ("#0d1117", "#e6edf3")}  # background, text and lines
DENSITY = {"light": "Blues", "dark": "GnBu_r"}  # colour maps that begin at the background

Picture = NDArray[Any]  # (H, W) grey or (H, W, 3), of uint8


@dataclass(frozen=True)
class Drawing(ABC):
    """A figure as a value: its fields are what it shows, `draw` makes it.

    Subclasses are frozen dataclasses. What takes long is computed once, in cached properties, since a figure is drawn
    in both themes. `options` are the parts that `difflab figure` takes where its user names none.
    """

    options: ClassVar[Mapping[str, str]] = {}
    title: ClassVar[str]

    @property
    @abstractmethod
    def caption(self) -> str:
        """What is shown, with its formula; mathematics between dollar signs."""

    @abstractmethod
    def draw(self) -> Figure:
        """The figure, in the theme that is on."""

    def canvas(self, height: float, legends: int = 0) -> Figure:
        """An empty figure whose content is `height` inches high, below its title and `legends` lines of legends.

        The caption stands below it.
        """
        lines = wrapped(self.caption, SMALL)
        above, below = TITLE + legends * LEGEND, 0.12 + len(lines) * SMALL * LINE
        whole = above + height + below
        figure = Figure(
            figsize=(WIDTH, whole), layout=ConstrainedLayoutEngine(rect=(0.01, below / whole, 0.98, height / whole))
        )
        figure.text(0.01, 1 - 0.06 / whole, self.title, va="top", fontsize=10, weight="bold")
        figure.text(0.01, 0.05 / whole, "\n".join(lines), va="bottom", fontsize=SMALL)
        return figure

    def write(
        self, folder: Path, name: str, formats: Sequence[str] = FORMATS, themes: Sequence[str] = ("light", "dark")
    ) -> list[Path]:
        """Write NAME.svg, NAME.pdf and NAME.png, and the same in the dark theme as NAME-dark; return their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        paths: list[Path] = []
        for theme in themes:
            stem = name if theme == "light" else f"{name}-{theme}"
            with themed(theme):
                paths += print_figure(self.draw(), folder, stem, formats)
        return paths


def at_least(least: int, **settings: int) -> None:
    """Raise ValueError for a setting that is smaller."""
    for name, value in settings.items():
        if value < least:
            raise ValueError(f"{name}={value} must be {least} or more")


@contextmanager
def themed(theme: str) -> Iterator[None]:
    """Draw on a light or a dark ground."""
    ground, ink = INK[theme]
    inked = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    colours: dict[Any, Any] = {
        **dict.fromkeys(inked, ink),
        **dict.fromkeys(("figure.facecolor", "axes.facecolor"), ground),
    }
    more: dict[Any, Any] = {
        "savefig.facecolor": ground,
        "image.cmap": DENSITY[theme],
        "axes.titlesize": 8,
        "mathtext.fontset": "cm",
    }
    with matplotlib.rc_context({**PRINT, **colours, **more}):
        yield


def ink() -> str:
    """The colour of text in the theme that is on."""
    return str(matplotlib.rcParams["text.color"])


def legend(figure: Figure, axes: Axes, line: int = 0) -> None:
    """The legend of some axes on a line between the title and the content."""
    inches = figure.get_size_inches()[1]
    handles, names = axes.get_legend_handles_labels()
    at = (0.0, 1 - (TITLE + line * LEGEND) / inches)
    made = figure.legend(handles, names, loc="upper left", bbox_to_anchor=at, ncols=len(names), fontsize=SMALL,
                         handlelength=2.4, borderaxespad=0.3, columnspacing=1.4)  # fmt: skip
    made.set_in_layout(False)


def wrapped(text: str, size: float, width: float = WIDTH) -> list[str]:
    """Lines of text that fit into a width in inches; a formula is not broken, and counts as its symbols."""
    formulas = re.findall(r"\$[^$]*\$", text)
    places = [
        chr(0xE000 + k) * len(re.sub(r"\\[a-zA-Z]+", "x", re.sub(r"[{}^_$\s]", "", f))) for k, f in enumerate(formulas)
    ]
    for formula, place in zip(formulas, places, strict=True):
        text = text.replace(formula, place, 1)
    whole = "\n".join(textwrap.wrap(text, int(width * 72 / (0.56 * size)), break_long_words=False))
    for formula, place in zip(formulas, places, strict=True):
        whole = whole.replace(place, formula, 1)
    return whole.split("\n")


def shortened(text: str, columns: int) -> str:
    """Text of at most so many characters, the rest as an ellipsis."""
    return text if len(text) <= columns else f"{text[: columns - 1]}…"


def picture_grid(
    figure: Figure,
    pictures: Sequence[Sequence[Picture | None]],
    rows: Sequence[str],
    columns: Sequence[str],
    notes: Sequence[Sequence[str]] = (),
    margin: float = 1.0,
) -> Axes:
    """Rows of pictures with titles at the left and above, and notes under each.

    Where a picture is None its place stays empty. `margin` is the width in inches that is left for the titles of rows.
    """
    side = side_of(max(map(len, pictures)), margin)
    lines = max((note.count("\n") + 1 for row in notes for note in row if note), default=0)
    below = (lines * NOTE * LINE + 0.03) / side if lines else 0.0
    axes = figure.subplots()
    high = 1 + below + 0.06
    for i, row in enumerate(pictures):
        for j, one in enumerate(row):
            if one is None:
                continue
            top = -i * high
            extent = (j + 0.03, j + 0.97, top - 0.97, top - 0.03)
            axes.imshow(one, extent=extent, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            if notes and notes[i][j]:
                axes.text(j + 0.5, top - 1.0, notes[i][j], ha="center", va="top", fontsize=NOTE, linespacing=1.1)
    axes.set(xlim=(0, (WIDTH - margin) / side), ylim=(-len(pictures) * high, 0), aspect="equal")
    axes.set_xticks([j + 0.5 for j in range(len(columns))], columns, fontsize=SMALL)
    axes.set_yticks([-i * high - 0.5 for i in range(len(rows))], rows, fontsize=SMALL)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    return axes


def side_of(columns: int, margin: float = 1.0) -> float:
    """Inches of a picture with its gap."""
    return min(LARGEST, (WIDTH - margin) / columns)


def grid_height(rows: int, columns: int, lines: int = 0, margin: float = 1.0) -> float:
    """The height in inches of such a grid, with `lines` of notes under each picture."""
    side = side_of(columns, margin)
    return rows * (1.06 * side + (lines * NOTE * LINE + 0.03 if lines else 0)) + 0.3
