"""`difflab-figure`: the pictures of the field, of closed forms and of trained runs."""

from __future__ import annotations

import dataclasses
import inspect
import logging
from collections.abc import Sequence

from difflab.cli.command import words_of
from difflab.cli.ending import ends_in_one_line
from difflab.cli.extensions import outside_of
from difflab.cli.figure.words import IMAGE, class_of, figure_of, output_of
from difflab.experiment.machine.hardware import keep_heap
from difflab.experiment.parts.errors import UserError, user_errors
from difflab.experiment.parts.search_path import using

HELP = """\
difflab-figure NAME [KEY=VALUE ...]

Draw a figure and write it as SVG, PDF and PNG, on a light and on a dark ground. Words:

  schedule=vp,linear     the parts that are shown: options of their group, schedule.KEY=VALUE sets one
  run=RUN                the trained run; nfe=, guidance=, range=, ema= and grid= as in difflab-sample
  image=PATH             an image of one's own, or the number of a held-out image of fashion16
  out=FOLDER             where to write (figures)
  formats=svg,pdf,png    the files
  themes=light,dark      the grounds
  KEY=VALUE              the figure's own settings: difflab-figure NAME --help

difflab-figure all writes every figure, with a page README.md that shows them and the commands.
"""


def help_of(name: str) -> str:
    """What a figure shows, and its words with their defaults."""
    cls = class_of(name)
    lines = [inspect.getdoc(cls) or "", ""]
    for one in dataclasses.fields(cls):
        needed = {"run": "demo", "image": IMAGE} | dict(cls.options)
        default = needed.get(one.name) if one.default is dataclasses.MISSING else one.default
        text = ",".join(map(str, default)) if isinstance(default, tuple) else default
        lines.append(f"  {one.name}={'none' if text is None else text}")
    return "\n".join(lines)


def listing() -> str:
    """The figures and what they show."""
    from difflab.report.figure import FIGURES

    width = max(map(len, FIGURES))
    lines = [f"  {name:<{width}}  {(inspect.getdoc(cls) or '').splitlines()[0]}" for name, cls in FIGURES.items()]
    return "\n".join([HELP, "Figures:", *lines])


def main(argv: Sequence[str] | None = None) -> None:
    """The console script; `argv` begins with the name of the program."""
    program, words = words_of(argv)
    helped = [word for word in words if word in ("-h", "--help")]
    name, *rest = [word for word in words if word not in helped] or [""]
    extensions = [word for word in rest if word.startswith("extensions=")]
    rest = [word for word in rest if word not in extensions]
    keep_heap()  # before torch loads
    with ends_in_one_line(program), using(outside_of(extensions)), user_errors():
        if not name:
            print(listing())
            return
        logging.getLogger("fontTools").setLevel(logging.ERROR)  # it remarks on dates in fonts
        folder, formats, themes, rest = output_of(rest)
        if helped:
            print(help_of(name))
        elif name == "all":
            if rest:
                raise UserError(f"all draws each figure as it is: leave out {' '.join(rest)}, or name one figure")
            from difflab.cli.figure.gallery import gallery

            print(f"page: {gallery(folder, formats, themes)}")
        else:
            for path in figure_of(name, rest).write(folder, name, formats, themes):
                print(path)


if __name__ == "__main__":
    main()
