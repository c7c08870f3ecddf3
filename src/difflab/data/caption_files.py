"""Where the captions of a folder of images stand; the standard library alone, as for `layout`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from difflab.data.layout import SUFFIXES, files_in
from difflab.data.listing import text_of

TABLE = "metadata.jsonl"


class Captioned(NamedTuple):
    """The texts of image files, and the files that have none."""

    texts: dict[Path, str]
    without: list[Path]


def captioned(root: str | Path, skip: bool = False) -> Captioned:
    """The texts of the images of a folder, and of those below it, in the order of their paths.

    A text stands in `metadata.jsonl`, a line `{"file_name": PATH, "text": TEXT}` for each image, its path relative to
    the folder of that file; or else in a file beside the image, of the same name with the suffix `.txt`. Blanks at the
    ends of a text are left out, and so are images and tables with hidden names or in hidden folders, as by `scan`. A
    text that is null is none.

    Raises FileNotFoundError for a missing folder or one without images; and ValueError for a line that is no such
    object, for a line whose file is no image there, for a file that is not in UTF-8, and, unless they are to be
    skipped, for images without a text.
    """
    root = Path(root).expanduser().absolute()  # as the paths of a table may be
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {root}: data.source.root must name a folder of images")
    every = sorted(files_in(root))
    files = [path for path in every if path.suffix.lower() in SUFFIXES]
    if not files:
        raise FileNotFoundError(f"no images in {root} or below it; known are {', '.join(sorted(SUFFIXES))}")
    tables = [path for path in every if path.name == TABLE]
    stated = {path: text for table in tables for path, text in _lines(table)}
    if lost := sorted(stated.keys() - {*files}):
        raise ValueError(f"{TABLE} names {len(lost)} files that are no images in {root}, {lost[0]} first")
    texts = {}
    for path in files:
        beside = path.with_suffix(".txt")
        if path not in stated:
            stated[path] = text_of(beside).strip() if beside.is_file() else ""
        if text := stated[path]:
            texts[path] = text
    without = [path for path in files if path not in texts]
    if without and not skip:
        raise ValueError(
            f"{len(without)} of {len(files)} images have no caption, {without[0]} first: add a line "
            f'{{"file_name": .., "text": ..}} to {TABLE} or a .txt file of the same name, or leave these images '
            f"out with data.source.skip_uncaptioned=true"
        )
    if not texts:
        raise ValueError(f"no image in {root} has a caption")
    return Captioned(texts, without)


def _lines(table: Path) -> Iterator[tuple[Path, str]]:
    for number, line in enumerate(text_of(table).splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            text = row["text"]
            if isinstance(text, list | dict):
                raise TypeError
            yield table.parent / row["file_name"], "" if text is None else str(text).strip()
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f'{table}, line {number}: should be {{"file_name": .., "text": ..}}') from error


def count_captions(root: str | Path, skip: bool = False) -> int:
    """Number of different captions in a folder; raises as `captioned`."""
    return len({*captioned(root, skip).texts.values()})
