"""Installed packages with parts for difflab, which name themselves in the entry-point group `difflab.extensions`.

An extension is off until the user switches it on, see `difflab.experiment.parts.search_path`.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from difflab.experiment.parts.errors import UserError, suggestion

GROUP = "difflab.extensions"  # of entry points: NAME = "PACKAGE"


@dataclass(frozen=True)
class Extension:
    """An installed package with parts: the `name` that switches it on, its top-level `package`, its `version`."""

    name: str
    package: str
    version: str

    @property
    def folder(self) -> Path:
        """The folder of the package. Raises UserError if it has none: a single module, or a broken installation."""
        spec = find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            raise UserError(f"extensions={self.name}: {self.package} is no package folder; install it again")
        return Path(next(iter(spec.submodule_search_locations)))

    @property
    def conf(self) -> Path | None:
        """The folder of its options, if it brings one."""
        folder = self.folder / "conf"
        return folder if folder.is_dir() else None

    @property
    def sha256(self) -> str:
        """The sha256 of its source: the names and the bytes of its Python files. Read once in a process."""
        return source_sha256(self.folder)

    def imported(self, module: str) -> ModuleType:
        """One of its modules. Raises UserError, which names the extension, for any error of its code."""
        try:
            return importlib.import_module(module)
        except Exception as error:  # what the code of others may raise is not known here
            why = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            raise UserError(
                f"extensions={self.name}: {module} cannot be imported: {why}; HYDRA_FULL_ERROR=1 shows where"
            ) from error


@cache
def source_sha256(folder: Path) -> str:
    """The sha256 of the Python files of a folder, by their paths inside it."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        data = path.read_bytes()
        found.update(f"{path.relative_to(folder).as_posix()} {len(data)}\n".encode())
        found.update(data)
    return found.hexdigest()


def installed() -> dict[str, Extension]:
    """All installed extensions by name. Imports none of them."""
    return {point.name: extension_of(point) for point in entry_points(group=GROUP)}


def extension_of(point: EntryPoint) -> Extension:
    """The extension of an entry point."""
    return Extension(point.name, point.value.partition(".")[0], point.dist.version if point.dist else "")


def named(names: Sequence[str]) -> tuple[Extension, ...]:
    """The extensions of these names. Raises UserError for a name that no installed package has."""
    known = installed() if names else {}  # reading what is installed takes a moment
    for name in names:
        if name not in known:
            valid = suggestion(name, sorted(known)) if known else "no extension is installed"
            raise UserError(f"extensions={name}: no installed package has this name in its {GROUP}; {valid}")
    return tuple(known[name] for name in names)
