"""How images are laid out in files; without torch, so that a config can ask before it is imported.

A folder with the images directly in it (unlabelled), or in a subfolder for each class, at any depth below it; a list of
files and labels (`listing`); or an array of images (`array_file`).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from difflab.data.array_file import ARRAYS, label_names
from difflab.data.listing import LISTS, METADATA, listed

SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".jfif", ".webp", ".avif", ".bmp", ".gif"))
SUFFIXES |= {".tif", ".tiff", ".ppm", ".pgm"}


@dataclass(frozen=True)
class Layout:
    """Image files with their labels (indices into names, or 0 where there are no classes), and what is left out.

    `root` is the folder that the files lie in. With `array` the images are those of that file instead.
    """

    root: Path
    files: list[Path]
    labels: list[int]
    names: tuple[str, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)  # numbers of files by the reason
    array: Path | None = None


def scan(root: str | Path) -> Layout:
    """List the images of a folder, of a list of files, or of an array.

    In a folder: directly in it (unlabelled), or in its subfolders (one class each, sorted by name), at any depth below
    these; a metadata file with labels comes before both, and one array stands for itself where there are no images.
    Symbolic links to files are followed; names that begin with a dot are left out, and `__MACOSX`.
    Raises FileNotFoundError for a missing folder or one without images, ValueError for images in both places.
    """
    root = Path(str(root)).expanduser()
    if root.is_file():
        return of_file(root)
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {root}: data.source.root must name a folder of images")
    for name in METADATA:
        if (root / name).is_file() and (found := listed(root / name)).labelled:
            return Layout(root, [*found.files], [*found.labels], found.names)
    flat, others = _images(root)
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not _hidden(path.name))
    classes = {}
    for folder in folders:
        found_below, others_below = _below(folder)
        others += others_below
        if found_below:
            classes[folder.name] = found_below
    if flat and classes:
        raise ValueError(
            f"{root} holds images both directly ({flat[0].name}, ...) and in subfolders ({', '.join([*classes][:3])}, "
            "...): put them all directly in it (unlabelled), or all in one subfolder per class"
        )
    if classes:
        files = [file for group in classes.values() for file in group]
        labels = [label for label, group in enumerate(classes.values()) for _ in group]
        return Layout(root, files, labels, tuple(classes), others)
    if flat:
        return Layout(root, flat, [0] * len(flat), (), others)
    arrays = sorted(path for path in root.iterdir() if path.suffix.lower() in ARRAYS and not _hidden(path.name))
    if len(arrays) == 1:
        return of_file(arrays[0])
    if arrays:
        raise ValueError(f"{root} holds {len(arrays)} arrays: name one, as data.source.root={arrays[0]}")
    raise FileNotFoundError(f"no images in {root} or its subfolders; known are {', '.join(sorted(SUFFIXES | ARRAYS))}")


def of_file(path: Path) -> Layout:
    """The images of a list or of an array. Raises ValueError for a file that is neither."""
    suffix = path.suffix.lower()
    if suffix in ARRAYS:
        return Layout(path.parent, [], [], label_names(path), array=path)
    if suffix in LISTS:
        found = listed(path)
        return Layout(path.parent, [*found.files], [*found.labels], found.names)
    known = ", ".join(sorted(LISTS | ARRAYS))
    raise ValueError(f"data.source.root={path} is a file: name the folder of the images, or a file of {known}")


def count_classes(root: str | Path) -> int:
    """Number of classes, 0 where there are no labels; raises as `scan`."""
    return len(scan(root).names)


def files_in(root: Path) -> Iterator[Path]:
    """The files of a folder and of those below it, in no order; hidden ones are left out, as by `scan`."""
    for folder in _folders(root):
        yield from (path for path in folder.iterdir() if not _hidden(path.name) and path.is_file())


def _images(folder: Path) -> tuple[list[Path], Counter[str]]:
    """The images directly in a folder, sorted, and the numbers of its other files by suffix."""
    found, others = [], Counter[str]()
    with os.scandir(folder) as entries:
        for entry in entries:
            if _hidden(entry.name) or entry.is_dir():
                continue
            suffix = os.path.splitext(entry.name)[1].lower()
            if suffix in SUFFIXES:  # not is_file(): a dangling link must surface as an unreadable image
                found.append(folder / entry.name)
            else:
                others[suffix or "without a suffix"] += 1
    return sorted(found), others


def _below(folder: Path) -> tuple[list[Path], Counter[str]]:
    """The same of a folder and all folders in it."""
    found, others = [], Counter[str]()
    for each in _folders(folder):
        images, more = _images(each)
        found += images
        others += more
    return sorted(found), others


def _folders(folder: Path) -> Iterator[Path]:
    """A folder and those in it that are no links."""
    for path, inner, _ in os.walk(folder):
        inner[:] = sorted(name for name in inner if not _hidden(name))
        yield Path(path)


def _hidden(name: str) -> bool:
    """Whether a file or a folder is none of the user's images, by its name."""
    return name.startswith(".") or name == "__MACOSX"
