"""Lists of image files with their labels: CSV, or JSON lines as those of image folders on Hugging Face."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LISTS = frozenset((".csv", ".tsv", ".jsonl"))
METADATA = ("metadata.jsonl", "metadata.csv")  # of an image folder
FILE = ("file_name", "filename", "file", "path", "image", "name")  # columns, the first that is there
LABEL = ("label", "labels", "class", "category", "target", "y")


@dataclass(frozen=True)
class Listing:
    """Files, their labels as indices into `names` (0 where there are none), and the names of the classes, sorted."""

    files: Sequence[Path]
    labels: Sequence[int]
    names: tuple[str, ...]

    @property
    def labelled(self) -> bool:
        """Whether the list has a column of labels."""
        return bool(self.names)


def listed(path: Path) -> Listing:
    """What a list says; files are relative to its folder.

    Columns by their names (`FILE`, `LABEL`), or of a CSV without such a head the first and the second. Labels are
    names, or numbers, which are sorted as such; blanks around them are left out, and an empty one is none. Raises
    ValueError for a list without files, for files without a label where others have one, and for a broken line.
    """
    rows = list(_rows(path))
    if not rows:
        raise ValueError(f"{path} lists no files: a line each, with {FILE[0]} and {LABEL[0]}")
    labels = [row[1] for row in rows]
    if missing := [row[0] for row in rows if row[1] is None and any(label is not None for label in labels)]:
        raise ValueError(f"{path}: {len(missing)} of {len(rows)} files have no label, as {missing[0]}")
    names = in_order({str(label) for label in labels if label is not None})
    index = {name: k for k, name in enumerate(names)}
    files = [path.parent / row[0] for row in rows]
    return Listing(files, [0 if label is None else index[str(label)] for label in labels], names)


def in_order(names: set[str]) -> tuple[str, ...]:
    """Names of classes in order: whole numbers as numbers, and those that are equal, as 1 and 01, as text."""
    if all(name.removeprefix("-").isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def text_of(path: Path) -> str:
    """The text of a file in UTF-8, without a byte order mark. Raises ValueError, which names it, for another."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8: save it as UTF-8") from error


def _rows(path: Path) -> Iterator[tuple[str, object]]:
    """Each file with its label, None without one."""
    text = text_of(path)
    if path.suffix.lower() == ".jsonl":
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                yield _pair(_parsed(path, number, line), path)
        return
    mark = "\t" if path.suffix.lower() == ".tsv" else ","
    lines = [row for row in csv.reader(text.splitlines(), delimiter=mark) if row]
    head = [cell.strip().lower() for cell in lines[0]] if lines else []
    if {*head} & {*FILE}:
        lines = lines[1:]
    else:
        head = [FILE[0], LABEL[0]]
    yield from (_pair(dict(zip(head, row, strict=False)), path) for row in lines)


def _parsed(path: Path, number: int, line: str) -> Mapping[str, object]:
    """A line of JSON. Raises ValueError, which names it, if it is broken."""
    try:
        found = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{path}, line {number} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}, line {number} is no JSON object with {FILE[0]} and {LABEL[0]}")
    return found


def _pair(row: Mapping[str, object], path: Path) -> tuple[str, object]:
    """The file and the label of a row. Raises ValueError for one without a file."""
    file = next((row[key] for key in FILE if row.get(key)), None)
    if file is None:
        raise ValueError(f"{path}: a row names no file: its column is one of {', '.join(FILE)}")
    labels = [label.strip() if isinstance(label, str) else label for label in map(row.get, LABEL)]
    return str(file), next((label for label in labels if label not in (None, "")), None)
