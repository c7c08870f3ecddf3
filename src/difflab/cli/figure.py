"""`difflab-figure`: the pictures of the field, of closed forms and of trained runs."""

from __future__ import annotations

import dataclasses
import inspect
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

import yaml

from difflab.cli.command import ends_in_one_line, words_of
from difflab.cli.extensions import outside_of
from difflab.experiment.errors import UserError, suggestion, user_errors
from difflab.experiment.hardware import keep_heap
from difflab.experiment.search_path import using

if TYPE_CHECKING:
    from difflab.report.figure import Drawing

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
IMAGE = 7  # of the held-out images, where none is named


@dataclass
class Asked:
    """The words of the command by what they are for."""

    settings: dict[str, Any] = field(default_factory=dict)  # plain fields of the figure
    parts: list[str] = field(default_factory=list)
    run: list[str] = field(default_factory=list)
    image: str = str(IMAGE)


def figure_of(name: str, words: Sequence[str]) -> Drawing:
    """The figure of a name that the words ask for. Raises UserError for words that do not fit."""
    from difflab.report.figure import FIGURES

    if name not in FIGURES:
        raise UserError(f"{name} is no figure; {suggestion(name, [*FIGURES, 'all'])}")
    cls = FIGURES[name]
    hints = {one.name: get_type_hints(cls)[one.name] for one in dataclasses.fields(cls)}
    asked = sorted_words(name, cls, hints, words)
    values: dict[str, Any] = dict(asked.settings)
    values |= parts_of(cls, hints, asked.parts)
    if "image" in hints:
        values["image"] = image_of(asked.image)
    if "run" in hints and (asked.run or None not in optional(hints["run"])):
        values["run"] = run_of(asked.run)
    return cls(**values)


def optional(hint: Any) -> tuple[Any, ...]:  # noqa: ANN401  # a type hint may be any object
    """The types that a hint allows, None for NoneType."""
    return tuple(None if kind is type(None) else kind for kind in get_args(hint)) or (hint,)


def sorted_words(name: str, cls: type[Drawing], hints: Mapping[str, Any], words: Sequence[str]) -> Asked:
    """The words by what they are for. Raises UserError for those that are for nothing."""
    from difflab.cli.parts import CONTEXTS
    from difflab.experiment.build import fits

    asked = Asked()
    for word in words:
        key, equals, text = word.partition("=")
        head = key.partition(".")[0]
        if not equals:
            raise UserError(f"{word} is no KEY=VALUE; difflab-figure {name} --help lists the words")
        if head in hints and head in CONTEXTS:
            asked.parts.append(word)
        elif key == "image" and "image" in hints:
            asked.image = text
        elif key in hints and key != "run":
            kind = hints[key]
            value = yaml.safe_load(f"[{text.strip('[]')}]" if get_origin(kind) is tuple else text)
            if not fits(value, kind):
                raise UserError(f"{word} should be of type {inspect.formatannotation(kind)}")
            asked.settings[key] = tuple(value) if isinstance(value, list) else value
        elif "run" in hints:
            asked.run.append(word)
        else:
            raise UserError(f"{key} is no word of difflab-figure {name}; {suggestion(key, [*hints])}")
    return asked


def parts_of(cls: type[Drawing], hints: Mapping[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """The parts that a figure shows, built: those named, or the figure's own choice. One, or several by their names."""
    from difflab.cli.parts import is_setting, parts

    named = {word.partition("=")[0] for word in words if not is_setting(word)}
    own = [f"{group}={options}" for group, options in cls.options.items() if group not in named]
    found: dict[str, dict[str, Any]] = {}
    for part in parts([*own, *words]):
        found.setdefault(part.group, {})[part.option] = part.built
    values: dict[str, Any] = {}
    for group, built in found.items():
        if get_origin(hints[group]) is not None and issubclass(get_origin(hints[group]), Mapping):
            values[group] = built
        elif len(built) == 1:
            (values[group],) = built.values()
        else:
            raise UserError(f"{group}={','.join(built)}: this figure shows one {group}")
    return values


def image_of(word: str) -> Any:  # noqa: ANN401  # torch loads later
    """An image as models see it, float (C, H, W): a file, or a held-out image of Fashion16 by its number."""
    import torch
    from PIL import Image

    from difflab.data import Fashion16, Pixels
    from difflab.data.folder import read

    if word.isdecimal():
        held_out = Fashion16().load().test
        if int(word) >= len(held_out):
            raise UserError(f"image={word}: there are {len(held_out)} held-out images, which count from 0")
        stored = held_out.x[int(word) : int(word) + 1]
    else:
        path = Path(word).expanduser()
        try:
            with Image.open(path) as opened:
                side = min(*opened.size, 256)
            stored = torch.from_numpy(read(path, (3, side, side)).copy())[None]
        except OSError as error:
            raise UserError(f"image={word} cannot be read: {error}") from error
    return Pixels().encode(stored)[0]


def run_of(words: Sequence[str]) -> Any:  # noqa: ANN401  # as above
    """A trained run and its recipe, by the words of `difflab-sample`; the packaged run where none is named."""
    from difflab.experiment.config import compose_job
    from difflab.experiment.recipe import trained
    from difflab.experiment.references import with_runs

    named = any(word.startswith("run=") for word in words)
    config, _ = with_runs(
        compose_job("sample", [*([] if named else ["run=demo"]), *words]), lambda _, rest: trained(rest)
    )
    return trained(config)


def help_of(name: str) -> str:
    """What a figure shows, and its words with their defaults."""
    from difflab.report.figure import FIGURES

    cls = FIGURES[name]
    lines = [inspect.getdoc(cls) or "", ""]
    for one in dataclasses.fields(cls):
        default = cls.options.get(one.name) or (one.default if one.default is not dataclasses.MISSING else None)
        default = {
            "run": "demo" if default is None and one.default is dataclasses.MISSING else "none",
            "image": IMAGE,
        }.get(one.name, default)
        text = ",".join(map(str, default)) if isinstance(default, tuple) else default
        lines.append(f"  {one.name}={text}")
    return "\n".join(lines)


def gallery(folder: Path, formats: Sequence[str], themes: Sequence[str]) -> Path:
    """Write every figure with its own choice of parts, and a page that shows them with the commands."""
    from difflab.experiment.files import write_text
    from difflab.report.figure import FIGURES

    page = ["# Figures", "", "Made by `difflab-figure all`; each takes seconds, and words of its own: `--help`.", ""]
    for name, cls in FIGURES.items():
        for path in figure_of(name, ()).write(folder, name, formats, themes):
            print(path, flush=True)
        summary = (inspect.getdoc(cls) or "").splitlines()[0]
        page += [
            f"## {cls.title}",
            "",
            summary,
            "",
            "```bash",
            f"difflab-figure {name}",
            "```",
            "",
            f"![{cls.title}]({name}.png)",
            "",
        ]
    write_text(folder / "README.md", "\n".join(page))
    return folder / "README.md"


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
        if not name or (helped and not name):
            print(listing())
            return
        logging.getLogger("fontTools").setLevel(logging.ERROR)  # it remarks on dates in fonts
        folder, formats, themes, rest = output_of(rest)
        if helped:
            figure_names(name)
            print(help_of(name))
        elif name == "all":
            if rest:
                raise UserError(f"all draws each figure as it is: leave out {' '.join(rest)}, or name one figure")
            print(f"page: {gallery(folder, formats, themes)}")
        else:
            for path in figure_of(name, rest).write(folder, name, formats, themes):
                print(path)


def figure_names(name: str) -> None:
    """Raise UserError for a name that no figure has."""
    from difflab.report.figure import FIGURES

    if name not in FIGURES:
        raise UserError(f"{name} is no figure; {suggestion(name, [*FIGURES, 'all'])}")


def output_of(words: Sequence[str]) -> tuple[Path, tuple[str, ...], tuple[str, ...], list[str]]:
    """The folder, the formats, the themes, and the words that are left."""
    from difflab.report.figure.base import FORMATS, INK

    folder, chosen, left = Path("figures"), {"formats": FORMATS, "themes": tuple(INK)}, []
    known = dict(chosen)
    for word in words:
        key, _, text = word.partition("=")
        if key == "out":
            folder = Path(text).expanduser()
        elif key in known:
            chosen[key] = tuple(text.strip("[]").split(","))
            if wrong := [one for one in chosen[key] if one not in known[key]]:
                raise UserError(f"{word}: {suggestion(wrong[0], known[key])}")
        else:
            left.append(word)
    return folder, chosen["formats"], chosen["themes"], left


if __name__ == "__main__":
    main()
