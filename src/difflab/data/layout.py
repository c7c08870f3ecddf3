"""How a folder of images is laid out; the standard library alone, so that a config can ask before torch is imported."""

from __future__ import annotations

import os
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


def count_classes(root: str | Path) -> int:
    """Number of class subfolders, 0 for a flat folder; raises as `scan`."""
    return len(scan(root).names)


def _images(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        # Not is_file(): a dangling link must surface as an unreadable image.
        return sorted(folder / entry.name for entry in entries if _named_as_image(entry.name) and not entry.is_dir())


def _named_as_image(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES
