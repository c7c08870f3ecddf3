"""What the words of a command line switch on, and where they say that options lie."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from difflab.cli.explain import options
from difflab.experiment.parts.errors import UserError
from difflab.experiment.parts.extensions import named
from difflab.experiment.parts.search_path import Outside

CONFIG_DIR = ("--config-dir", "-cd")
COMPLETION = "COMP_LINE"  # the line that is being completed, in the environment of a completing shell


def outside_of(words: Sequence[str]) -> Outside:
    """The extensions and folders that words name: `extensions=`, `--config-dir`, `hydra.searchpath=`, `experiment=`.

    An experiment file names extensions by its own key `extensions`. Raises UserError for a folder that is not there,
    and for an extension that is not installed.
    """
    words = [*words, *os.environ.get(COMPLETION, "").replace("\\", "").split()]
    overrides = [*parsed(words)]
    listed = [str(path) for o in overrides if o.key_or_group == "hydra.searchpath" for path in values(o)]
    folders = tuple(dict.fromkeys(map(folder_of, (*config_dirs(words), *listed))))
    names = [str(name) for o in overrides if o.key_or_group == "extensions" for name in values(o)]
    experiments = [option for o in overrides if o.key_or_group == "experiment" for option in options(o)]
    for path in (folder / "experiment" / f"{option}.yaml" for option in experiments for folder in folders):
        if path.is_file():
            names += (yaml.safe_load(path.read_text()) or {}).get("extensions") or []
    return Outside(named(tuple(dict.fromkeys(names))), folders)


def parsed(words: Sequence[str]) -> Iterator[Override]:
    """The overrides among words. Words that do not parse are left out: composing them raises the error."""
    parser = OverridesParser.create()
    for word in words:
        try:
            if "=" in word and not word.startswith("-"):
                yield parser.parse_override(word)
        except HydraException:
            continue


def values(override: Override) -> list[object]:
    """The items of a list. Raises UserError for one value, and for a sweep, which would need a process for each."""
    value = None if override.is_sweep_override() else override.value()
    if not isinstance(value, list):
        raise UserError(f"{override.input_line}: give one list, as {override.key_or_group}=[A,B]")
    return value


def config_dirs(words: Sequence[str]) -> Iterator[str]:
    """The values of `--config-dir DIR` and `--config-dir=DIR`."""
    for word, following in zip_longest(words, words[1:], fillvalue=""):
        flag, equals, value = word.partition("=")
        if flag in CONFIG_DIR:
            yield value if equals else following


def folder_of(place: str) -> Path:
    """The folder of a place in Hydra's grammar: `file://PATH`, `pkg://PACKAGE.FOLDER` or a path."""
    if place.startswith("pkg://"):
        package, _, inner = place.removeprefix("pkg://").replace("/", ".").partition(".")
        spec = find_spec(package)
        roots = (spec and spec.submodule_search_locations) or [f"<{package} is not installed>"]
        folder = Path(next(iter(roots)), *inner.split(".")) if inner else Path(next(iter(roots)))
    else:
        folder = Path(place.removeprefix("file://")).expanduser()
    if not folder.is_dir():
        raise UserError(f"--config-dir {place}: there is no such folder")
    return folder.resolve()
