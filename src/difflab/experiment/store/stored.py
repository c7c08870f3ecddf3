"""Files of a run as a stranger's: what is read of them is bounded, plain, and lies in the run's folder.

Each refusal is one ValueError that names the file and the reason.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml

from difflab.experiment.parts.build import fits

JSON, YAML = 16 * 2**20, 256 * 2**10  # bytes that a file may have; YAML is read slowly
NODES, DEPTH, TEXT = 500_000, 40, 100_000  # values in one file, levels of them, characters of a text
INT = 2**63  # whole numbers lie below it
OWN_FORMAT = ("wandb", "mlflow", "tensorboard")  # folders of mirrors, which nothing here reads

LONE = re.compile("[\ud800-\udfff]")  # surrogates, which no file can be written with


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # the one in C is several times faster
    """YAML of plain values, without merge keys: chains of them grow without bound."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Nothing, so that a merge key is an unknown tag."""


def check_entries(folder: Path) -> Path:
    """The folder of a run. Raises ValueError for an entry that is no folder, and no regular file inside of it.

    So nothing that is read or written later hangs at a pipe, or follows a link out of the run.
    """
    root = os.path.realpath(folder)
    for entry in entries(folder):
        if entry.is_symlink():
            if not Path(os.path.realpath(entry.path)).is_relative_to(root):
                raise ValueError(
                    f"{entry.path} is a link that leaves the run: put what it names in its place, as `cp -rL` does"
                )
        elif not (entry.is_file() or entry.is_dir()):
            raise ValueError(f"{entry.path} is neither a file nor a folder: remove it")
    return folder


def entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """All entries of a run's folder, at every level; links are not followed."""
    with os.scandir(folder) as found:
        for entry in found:
            yield entry
            if entry.is_dir(follow_symlinks=False) and entry.name not in OWN_FORMAT:
                yield from entries(Path(entry.path))


def content(path: Path, most: int, first: int = -1) -> bytes:
    """The bytes of a regular file, or the `first` of them.

    Raises FileNotFoundError, and ValueError for what is no regular file or has more than `most` bytes.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would wait for its writer
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError(f"{path} is no regular file")
        if found.st_size > most:
            raise ValueError(f"{path} has {found.st_size:,} bytes, where at most {most:,} are read")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(first)
    finally:
        os.close(descriptor)


def read_lines(path: Path) -> list[str]:
    """The lines of a regular text file; none where there is no file. Damaged characters are replaced."""
    try:
        return content(path, 2**40).decode(errors="replace").splitlines()
    except FileNotFoundError:
        return []


def load_json(path: Path, constant: Callable[[str], float] | None = None) -> dict[str, Any]:
    """The plain values by name of a JSON file. Raises FileNotFoundError, and ValueError for anything else.

    `constant` reads NaN and Infinity, which are refused without it.
    """
    try:
        found = json.loads(content(path, JSON), parse_constant=constant or no_number, parse_float=finite)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: it is no JSON ({reason(error)})") from error
    except ValueError as error:  # of `content`, and of a number with thousands of digits
        raise ValueError(str(error) if str(path) in str(error) else f"{path} is damaged: {error}") from error
    return plain_mapping(found, path)


def no_number(word: str) -> float:
    """For NaN and Infinity, which JSON does not have. Raises ValueError."""
    raise ValueError(f"{word} is no number")


def finite(digits: str) -> float:
    """A number. Raises ValueError for one that is too large."""
    return value if math.isfinite(value := float(digits)) else no_number(digits[:60])


def load_yaml(path: Path) -> dict[str, Any]:
    """The same of a YAML file."""
    data = content(path, YAML)
    try:
        found = yaml.load(data, Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: it is no YAML of plain values ({reason(error)})") from error
    return plain_mapping(found, path)


def reason(error: Exception) -> str:
    """An error in one short line."""
    return " ".join(str(error).split())[:200] if str(error) else type(error).__name__


def plain_mapping(found: object, path: Path) -> dict[str, Any]:
    """A mapping of plain values. Raises ValueError for other types, and for too many values or levels.

    Values that are named twice count twice: they are walked twice later.
    """
    if not isinstance(found, dict):
        raise ValueError(f"{path} is damaged: it holds no names with values")
    left: list[tuple[object, int]] = [(found, 0)]
    for _ in range(NODES):
        if not left:
            return found
        value, depth = left.pop()
        if depth > DEPTH:
            raise ValueError(f"{path} is refused: it is nested more than {DEPTH} levels deep")
        if isinstance(value, Mapping):
            left += [(each, depth + 1) for item in value.items() for each in item]
        elif isinstance(value, list):
            left += [(each, depth + 1) for each in value]
        elif wrong := not_plain(value):
            raise ValueError(f"{path} is refused: it holds {wrong}")
    raise ValueError(f"{path} is refused: it holds more than {NODES:,} values")


def not_plain(value: object) -> str:
    """What is wrong with a single value; empty if it is plain."""
    match value:
        case str():
            if len(value) > TEXT:
                return f"a text of {len(value):,} characters"
            return "" if value.isascii() or not LONE.search(value) else "half of a character"
        case bool() | None | float():
            return ""
        case int():
            return "" if -INT <= value < INT else "a whole number of more than 64 bits"
    return f"a value of type {type(value).__name__}"


def check_fields(found: Mapping[str, Any], hints: Mapping[str, Any], path: Path) -> None:
    """Raise ValueError unless a mapping has these fields, of these types."""
    for key, hint in hints.items():
        if key not in found:
            raise ValueError(f"{path} is damaged: it has no {key}")
        if not plainly_fits(found[key], hint):
            raise ValueError(f"{path} is damaged: its {key} is {short(found[key])}")


def plainly_fits(value: object, hint: Any) -> bool:  # noqa: ANN401  # a type hint may be any object
    """Whether a plain value is of a type, where a mapping stands for itself and not for the class that it may name."""
    if isinstance(value, Mapping) and get_origin(hint) is Mapping:
        return all(plainly_fits(each, get_args(hint)[1]) for each in value.values())
    return fits(value, hint)


def short(value: object) -> str:
    """A value in at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def is_number(value: object) -> bool:
    """Whether a value is a finite number of a size that can be reckoned with."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e30 and math.isfinite(value)
