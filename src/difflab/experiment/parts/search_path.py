"""Where options lie and whose classes may be built: conf/, and what the user of this process has added.

An extension is off until the user names it: as `extensions=[NAME]` on the command line or in an experiment file, or in
the variable DIFFLAB_EXTENSIONS. A run's stored configuration switches nothing on. What is added holds for a
`with using(...)` block.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

import difflab
from difflab.experiment.parts.errors import UserError
from difflab.experiment.parts.extensions import Extension, installed, named

VARIABLE = "DIFFLAB_EXTENSIONS"  # names of extensions, with commas between them


@cache
def conf_dir() -> str:
    """The configuration groups: inside the package in a wheel, beside `src` in a checkout."""
    package = Path(difflab.__file__).resolve().parent
    for folder in (package / "conf", package.parents[1] / "conf"):
        if folder.is_dir():
            return str(folder)
    raise FileNotFoundError("difflab: no conf/ in the package or at the root of the repository; install it again")


@dataclass(frozen=True)
class Outside:
    """What lies outside difflab: the extensions that are on, and folders of options. They are searched after conf/."""

    extensions: tuple[Extension, ...] = ()
    folders: tuple[Path, ...] = ()

    @property
    def search(self) -> tuple[tuple[str, Path], ...]:
        """The folders of options, each with the name of its owner in messages."""
        own = ((str(folder), folder) for folder in self.folders)
        return (*own, *((f"extension {each.name}", each.conf) for each in self.extensions if each.conf))

    @property
    def words(self) -> list[str]:
        """The words that add the same to a command line."""
        places = ",".join(f'"file://{folder}"' for folder in self.folders)
        names = ",".join(extension.name for extension in self.extensions)
        return [*([f"extensions=[{names}]"] if names else []), *([f"hydra.searchpath=[{places}]"] if places else [])]

    def __add__(self, other: Outside) -> Outside:
        """Both, each thing once."""
        extensions = dict.fromkeys((*self.extensions, *other.extensions))
        return Outside(tuple(extensions), tuple(dict.fromkeys((*self.folders, *other.folders))))


_NOW: ContextVar[Outside | None] = ContextVar("outside", default=None)


def outside() -> Outside:
    """What is on at this moment: of the innermost `using`, or else of the variable."""
    return _NOW.get() or of_variable(os.environ.get(VARIABLE, ""))


@contextmanager
def using(more: Outside) -> Iterator[None]:
    """Switch more on, as far as the block goes. Raises UserError for an option that two folders bring."""
    token = _NOW.set(outside() + more)
    try:
        check_options(outside())
        yield
    finally:
        _NOW.reset(token)


@cache
def of_variable(names: str) -> Outside:
    """The extensions that the variable names. Raises UserError as `named` does."""
    return Outside(named([name for name in re.split(r"[,\s]+", names) if name]))


def by_package(package: str) -> Extension | None:
    """The extension of a top-level package, if it is on."""
    return next((each for each in outside().extensions if each.package == package), None)


def import_extensions() -> None:
    """Import the packages that are on, for the scores that they declare. Raises UserError as `imported` does."""
    for extension in outside().extensions:
        extension.imported(extension.package)


def refusal(package: str) -> str:
    """The extension of a package that is not on, why that is, and the way out."""
    known = next((each for each in installed().values() if each.package == package), None)
    if known is None:
        return f"the extension {package}, which is not installed"
    return f"the extension {known.name}, which is off: add extensions=[{known.name}] if you trust its code"


def check_options(now: Outside) -> None:
    """Raise UserError for an option that conf/ or another folder has, too: one would hide the other.

    And for a file that is no YAML.
    """
    owners = dict.fromkeys(relative_options(Path(conf_dir())), "difflab")
    for owner, folder in now.search:
        for option in relative_options(folder):
            if option in owners:
                raise UserError(f"{owner}: its option {option} is also one of {owners[option]}: rename the file")
            owners[option] = owner
            try:
                yaml.compose((folder / f"{option}.yaml").read_text(), yaml.SafeLoader)
            except yaml.YAMLError as error:
                raise UserError(
                    f"{owner}: {folder / option}.yaml is no YAML: {' '.join(str(error).split())}"
                ) from error


def relative_options(folder: Path) -> list[str]:
    """The options of a folder, as `sampler/ddim`."""
    return [path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")]


def in_full(words: Sequence[str]) -> list[str]:
    """The words of a job with all that is on at this moment, also where an experiment or the variable names it."""
    own = [word for word in words if not word.startswith(("extensions=", "hydra.searchpath="))]
    return [*own, *outside().words]
