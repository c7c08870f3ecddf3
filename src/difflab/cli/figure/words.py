"""The words of `difflab-figure`: which figure, of which parts, image and run."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

import yaml

from difflab.experiment.parts.errors import UserError, suggestion

if TYPE_CHECKING:
    from difflab.report.figure import Drawing

IMAGE = 7  # of the held-out images, where none is named


@dataclass
class Asked:
    """The words of the command by what they are for."""

    settings: dict[str, Any] = field(default_factory=dict)  # plain fields of the figure
    parts: list[str] = field(default_factory=list)
    run: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)  # classes by name or number
    image: str = str(IMAGE)


def figure_of(name: str, words: Sequence[str]) -> Drawing:
    """The figure of a name that the words ask for. Raises UserError for words that do not fit."""
    cls = class_of(name)
    hints = {one.name: get_type_hints(cls)[one.name] for one in dataclasses.fields(cls)}
    asked = sorted_words(name, cls, hints, words)
    values: dict[str, Any] = dict(asked.settings)
    values |= parts_of(cls, hints, asked.parts)
    if "image" in hints:
        values["image"] = image_of(asked.image)
    if "run" in hints and (asked.run or None not in optional(hints["run"])):
        run = values["run"] = run_of(asked.run)
        if asked.labels:
            found = tuple(labelled(run, label) for label in asked.labels)
            values["label"] = found if get_origin(hints["label"]) is tuple else found[0]
    return cls(**values)


def labelled(run: Any, word: str) -> int:  # noqa: ANN401  # as below
    """The label of a class by its name or number. Raises ValueError for one that the run does not have."""
    from difflab.data.labels import label_of
    from difflab.experiment.store.facts import facts_of
    from difflab.report.figure.trained import classes_of

    names = [str(name) for name in facts_of(run.run).get("names", ())] or [*run.data.images.names]
    return label_of("label", word, names, max(1, classes_of(run)))


def optional(hint: Any) -> tuple[Any, ...]:  # noqa: ANN401  # a type hint may be any object
    """The types that a hint allows, None for NoneType."""
    return tuple(None if kind is type(None) else kind for kind in get_args(hint)) or (hint,)


def sorted_words(name: str, cls: type[Drawing], hints: Mapping[str, Any], words: Sequence[str]) -> Asked:
    """The words by what they are for. Raises UserError for those that are for nothing."""
    from difflab.cli.parts import CONTEXTS
    from difflab.experiment.config.words import placements
    from difflab.experiment.parts.build import fits

    asked = Asked()
    of_the_run = {place for place, _ in placements("sample") if "." in place and "run" in hints}  # sampler.schedule
    for word in words:
        key, equals, text = word.partition("=")
        head = key.partition(".")[0]
        if not equals:
            raise UserError(f"{word} is no KEY=VALUE; difflab-figure {name} --help lists the words")
        if key in of_the_run:
            asked.run.append(word)
        elif head in hints and head in CONTEXTS:
            asked.parts.append(word)
        elif key == "image" and "image" in hints:
            asked.image = text
        elif key == "label" and "label" in hints:
            asked.labels = [each.strip() for each in text.strip("[]").split(",") if each.strip()]
            if len(asked.labels) > 1 and get_origin(hints[key]) is not tuple:
                raise UserError(f"{word}: this figure shows one class")
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
    from difflab.cli.parts import is_setting, options_of, parts
    from difflab.experiment.config.compose import nodes
    from difflab.experiment.parts.build import build

    named = {word.partition("=")[0] for word in words if not is_setting(word)}
    chosen = [*(f"{group}={options}" for group, options in cls.options.items() if group not in named), *words]
    found: dict[str, dict[str, Any]] = {}
    if any(map(is_setting, words)):
        for part in parts(chosen):
            found.setdefault(part.group, {})[part.option] = part.built
    elif chosen:
        for group, option in (pair for word in chosen for pair in options_of(word)):
            found.setdefault(group, {})[option] = None
        for group, each in nodes({group: [*some] for group, some in found.items()}).items():
            found[group] = {option: build(each[option]) for option in found[group]}
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
    from difflab.data.picture import read

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
        except (OSError, ValueError) as error:
            raise UserError(f"image={word} cannot be read: {error}") from error
    return Pixels().encode(stored)[0]


def run_of(words: Sequence[str]) -> Any:  # noqa: ANN401  # as above
    """A trained run and its recipe, by the words of `difflab-sample`; the packaged run where none is named."""
    from difflab.experiment.config.compose import compose_job
    from difflab.experiment.references import with_runs
    from difflab.experiment.sampling.recipe import trained

    named = any(word.startswith("run=") for word in words)
    config, _ = with_runs(
        compose_job("sample", [*([] if named else ["run=demo"]), *words]), lambda _, rest: trained(rest)
    )
    return trained(config)


def class_of(name: str) -> type[Drawing]:
    """The class of a figure. Raises UserError for a name that no figure has."""
    from difflab.report.figure import FIGURES

    if name not in FIGURES:
        raise UserError(f"{name} is no figure; {suggestion(name, [*FIGURES, 'all'])}")
    return FIGURES[name]


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
