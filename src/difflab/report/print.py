"""How figures are printed: the settings of matplotlib, and the files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

PRINT: dict[Any, Any] = {  # by names that matplotlib types one by one
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 8,
    "legend.frameon": False,
    "lines.markersize": 3.5,
    "pdf.fonttype": 42,  # text stays text
    "svg.fonttype": "none",
    "svg.hashsalt": "difflab",  # the same study, the same file
}
RESOLUTION = 200  # dots per inch of a PNG
UNDATED = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}


def print_figure(figure: Figure, folder: Path, name: str, formats: Sequence[str]) -> list[Path]:
    """Write NAME.FORMAT for each format and return their paths. The same figure makes the same files."""
    lay_out(figure)
    paths = [folder / f"{name}.{form}" for form in formats]
    for path, form in zip(paths, formats, strict=True):
        figure.savefig(path, dpi=RESOLUTION, metadata=UNDATED.get(form))
    return paths


def lay_out(figure: Figure) -> None:
    """Place the axes once, for all formats, at rounded positions: the solver's last digits differ between calls."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        bounds = axes.get_position(original=True).bounds
        axes.set_position(Bbox.from_bounds(*(round(float(bound), 5) for bound in bounds)))
