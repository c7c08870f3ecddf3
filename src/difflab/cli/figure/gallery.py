"""All figures, and what can be done with a run, on one page with the commands that make them."""

from __future__ import annotations

import inspect
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from difflab.cli.figure.words import figure_of
from difflab.cli.sample import main as sample
from difflab.experiment.store.files import write_text
from difflab.report.figure import FIGURES

MORE = (("density", "dimensions=2"),)  # figures that are shown in a second way, too
SHEETS = {  # what can be done with a run, by the title
    "Samples": ("task=draw", "n=40"),
    "Classes from the same noise": ("task=classes", "n=4"),
    "A trajectory": ("task=trajectory", "n=2"),
    "Interpolation": ("task=interpolate", "sampler=ddim", "nfe=20", "n=4"),
    "Inversion": ("task=invert", "sampler=heun", "range=none", "precision=fp32", "n=8"),
    "Editing": ("task=edit", "task.label=8", "n=20"),
    "Restoration": ("task=restore", "problem=super_resolution", "restoration=pigdm", "n=8"),
}


def gallery(folder: Path, formats: Sequence[str], themes: Sequence[str]) -> Path:
    """Write every figure with its own choice of parts, each sheet of the packaged run, and README.md; its path."""
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
        summary = (inspect.getdoc(type(drawing)) or "").splitlines()[0]
        title = f"{drawing.title} ({', '.join(words)})" if words else drawing.title
        page += entry(title, ["difflab-figure", name, *words], f"{stem}.png", summary)
    page += ["# What can be done with a run", ""]
    for title, asked in SHEETS.items():
        name = f"{asked[0].replace('=', '-')}.png"
        with TemporaryDirectory() as made:
            sample(["difflab-sample", "run=demo", *asked, f"out={made}"])
            found = next(path for path in sorted(Path(made).glob("*.png")) if not path.stem.isdecimal())
            shutil.copyfile(found, folder / name)
        page += entry(title, ["difflab-sample", "run=demo", *asked], name)
    return write_text(folder / "README.md", "\n".join(page))


def entry(title: str, command: Sequence[str], picture: str, summary: str = "") -> list[str]:
    """The lines of one picture on the page."""
    about = [summary, ""] if summary else []
    return [f"## {title}", "", *about, "```", shlex.join(command), "```", "", f"![{summary or title}]({picture})", ""]
