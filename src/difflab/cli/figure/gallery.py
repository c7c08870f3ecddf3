"""All figures on one page, with the commands that make them."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Sequence
from pathlib import Path

from difflab.cli.figure.words import figure_of
from difflab.experiment.files import write_text
from difflab.report.figure import FIGURES

MORE = (("density", "dimensions=2"),)  # figures that are shown in a second way, too


def gallery(folder: Path, formats: Sequence[str], themes: Sequence[str]) -> Path:
    """Write every figure with its own choice of parts, and README.md, which shows them; its path."""
    page = [
        "# Figures",
        "",
        "Made by `difflab-figure all`. Each takes words of its own: `difflab-figure NAME --help`.",
        "",
    ]
    for name, *words in [*((name,) for name in FIGURES), *MORE]:
        stem = "-".join([name, *(word.replace("=", "-") for word in words)])
        drawing = figure_of(name, words)
        for path in drawing.write(folder, stem, formats, themes):
            print(path, flush=True)
        command = shlex.join(["difflab-figure", name, *words])
        summary = (inspect.getdoc(type(drawing)) or "").splitlines()[0]
        page += [f"## {drawing.title}", "", summary, "", "```", command, "```", "", f"![{summary}]({stem}.png)", ""]
    return write_text(folder / "README.md", "\n".join(page))
