"""How a folder of images is laid out; the standard library alone, so that a config can ask before torch is imported."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"))


class Layout(NamedTuple):
    """Image files with their labels (indices into names, or 0 where there are no classes)."""

    files: list[Path]
    labels: list[int]
    names: tuple[str, ...]


def scan(root: str | Path) -> Layout:
    """List the images of a folder: directly in it (unlabelled), or in its subfolders (one class each, sorted by name).

    Symbolic links are followed; names that begin with a dot and folders further down are left out.
    Raises FileNotFoundError for a missing folder or one without images, ValueError for images in both places.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {root}: data.source.root must name a folder of images")
    flat = _images(root)
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    classes = {folder.name: files for folder in folders if (files := _images(folder))}
    if flat and classes:
        raise ValueError(
            f"{root} holds images both directly ({flat[0].name}, ...) and in subfolders ({', '.join([*classes][:3])}, "
            "...): put them all directly in it (unlabelled), or all in one subfolder per class"
        )
    if classes:
        files = [file for group in classes.values() for file in group]
        labels = [label for label, group in enumerate(classes.values()) for _ in group]
        return Layout(files, labels, tuple(classes))
    if not flat:
        raise FileNotFoundError(f"no images in {root} or its subfolders; known are {', '.join(sorted(SUFFIXES))}")
    return Layout(flat, [0] * len(flat), ())


class Captioned(NamedTuple):
    """The texts of image files, and the files that have none."""

    texts: dict[Path, str]
    without: list[Path]


def captioned(root: str | Path, skip: bool = False) -> Captioned:
    """The texts of the images of a folder, and of those below it, in the order of their paths.

    A text stands in `metadata.jsonl`, a line `{"file_name": PATH, "text": TEXT}` for each image, its path relative to
    the folder of that file; or else in a file beside the image, of the same name with the suffix `.txt`. Blanks at the
    ends of a text are left out, and names that begin with a dot.

    Raises FileNotFoundError for a missing folder or one without images; and ValueError for a line that is no such
    object, for a line whose file is no image there, and, unless they are to be skipped, for images without a text.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {root}: data.source.root must name a folder of images")
    files = sorted(path for path in root.rglob("*") if _named_as_image(path.name) and path.is_file())
    files = [path for path in files if not any(part.startswith(".") for part in path.relative_to(root).parts)]
    if not files:
        raise FileNotFoundError(f"no images in {root} or below it; known are {', '.join(sorted(SUFFIXES))}")
    stated = {path: text for table in sorted(root.rglob("metadata.jsonl")) for path, text in _lines(table)}
    if lost := [path for path in stated if path not in {*files}]:
        raise ValueError(f"metadata.jsonl names {len(lost)} files that are no images in {root}, {lost[0]} first")
    texts = {}
    for path in files:
        beside = path.with_suffix(".txt")
        text = stated.get(path, beside.read_text(encoding="utf-8").strip() if beside.is_file() else "")
        if text:
            texts[path] = text
    without = [path for path in files if path not in texts]
    if without and not skip:
        raise ValueError(
            f"{len(without)} of {len(files)} images have no caption, {without[0]} first: add a line "
            f'{{"file_name": .., "text": ..}} to metadata.jsonl or a .txt file of the same name, or leave these images '
            f"out with data.source.skip_uncaptioned=true"
        )
    if not texts:
        raise ValueError(f"no image in {root} has a caption")
    return Captioned(texts, without)


def _lines(table: Path) -> Iterator[tuple[Path, str]]:
    for number, line in enumerate(table.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            yield table.parent / row["file_name"], str(row["text"]).strip()
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f'{table}, line {number}: should be {{"file_name": .., "text": ..}}') from error


def count_captions(root: str | Path, skip: bool = False) -> int:
    """Number of different captions in a folder; raises as `captioned`."""
    return len({*captioned(root, skip).texts.values()})


def count_classes(root: str | Path) -> int:
    """Number of class subfolders, 0 for a flat folder; raises as `scan`."""
    return len(scan(root).names)


def _images(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        # Not is_file(): a dangling link must surface as an unreadable image.
        return sorted(folder / entry.name for entry in entries if _named_as_image(entry.name) and not entry.is_dir())


def _named_as_image(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES
