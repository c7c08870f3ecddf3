"""EmojiSet 32: embedded colour images in three drawing styles, with words."""

from __future__ import annotations

import hashlib
import io
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import IO, Literal, NamedTuple
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, features

from difflab.data.images import Images, Split
from difflab.data.words import Captions, words_of

SHA256 = "db2af2dbe803162161345eba74c1396ac192af50e277c0f142e7e6d3fa3c84a4"  # of all pixels (5616, 32, 32, 3)
SIDE, COLUMNS = 32, 32  # of an image, and of a sheet
FORMS = 3  # of a caption

NAMES = {  # of the classes, by what labels state
    "style": ("noto", "twemoji", "fluent3d"),
    "group": (
        "smileys-emotion",
        "people-body",
        "animals-nature",
        "food-drink",
        "travel-places",
        "activities",
        "objects",
        "symbols",
        "flags",
    ),
}


class Drawing(NamedTuple):
    """An image in words: a concept, drawn in a style."""

    code: str  # its code points in hex, as "1f468-200d-1f373"
    caption: str  # as "man cook"
    tags: str  # words, separated by blanks
    group: str
    subgroup: str
    held_out: bool  # the concept, in all styles
    style: str

    @property
    def prompt(self) -> str:
        """The caption for text-to-image: `man cook, noto style`."""
        return f"{self.caption}, {self.style} style"

    @property
    def prompts(self) -> tuple[str, str, str]:
        """Three forms of it: the prompt, the caption with the other tags, and the tags alone, each with the style."""
        others = " ".join(tag for tag in self.tags.split() if tag not in words_of(self.caption))
        more = f"{self.caption} {others}".strip()
        return self.prompt, f"{more}, {self.style} style", f"{self.tags}, {self.style} style"


@dataclass(frozen=True)
class Emoji:
    """5,054 + 562 colour images 32x32: 1,899 emoji (concepts) on white, in three styles where they were drawn in each.

    Noto (Google), Twemoji (Twitter and contributors) and Fluent Emoji 3D (Microsoft), scaled by Lanczos' filter from 64
    pixels, Fluent's from 256, without skin tones; captions, tags and groups of emojibase (Johnson). Licences: NOTICE.
    A tenth of the concepts is held out, in all styles. The set is small, and a model can memorise it.

    - `labels`: "style", three classes; "group", nine classes: what the emoji shows; or "caption", texts in three forms:
      see `Drawing.prompts`.

    Raises ValueError for other labels, if the installed file is damaged, and where Pillow reads no WebP.
    """

    labels: Literal["style", "group", "caption"] = "style"

    def __post_init__(self) -> None:
        if self.labels not in (*NAMES, "caption"):
            raise ValueError(f"labels={self.labels!r}: choose {', '.join(NAMES)} or caption")

    def load(self) -> Images:
        """Read the file inside the package and check its pixels."""
        pixels, drawings = packaged()
        x = torch.from_numpy(pixels).permute(0, 3, 1, 2)
        held_out = torch.tensor([drawing.held_out for drawing in drawings])
        if self.labels == "caption":
            captions = captions_of(drawings)
            names, y = tuple(captions.texts), torch.arange(0, FORMS * len(x), FORMS)
        else:
            captions, names = None, NAMES[self.labels]
            y = torch.tensor([names.index(getattr(drawing, self.labels)) for drawing in drawings])
        train, test = (Split(x[rows].contiguous(), y[rows]) for rows in (~held_out, held_out))
        return Images(train, test, names, lookup=captions)

    def drawings(self, held_out: bool = False) -> Sequence[Drawing]:
        """The images of a split in words, in the order of `load`."""
        with files("difflab.data").joinpath("emoji32.zip").open("rb") as file, ZipFile(file) as archive:
            return [drawing for drawing in table(archive) if drawing.held_out == held_out]


def captions_of(drawings: Sequence[Drawing]) -> Captions:
    """The captions of images, in the forms of `Drawing.prompts`; a concept has one in each style."""
    codes = {code: k for k, code in enumerate(dict.fromkeys(drawing.code for drawing in drawings))}
    styles = NAMES["style"]
    concepts = torch.tensor([codes[drawing.code] for drawing in drawings]).repeat_interleave(FORMS)
    kinds = torch.tensor([styles.index(drawing.style) for drawing in drawings]).repeat_interleave(FORMS)
    texts = [text for drawing in drawings for text in drawing.prompts]
    return Captions(texts, FORMS, concepts, [f"{style} style" for style in styles], kinds)


@cache
def packaged() -> tuple[NDArray[np.uint8], Sequence[Drawing]]:
    """What `read` finds in the package; it is decoded once in a process, and must not be changed."""
    with files("difflab.data").joinpath("emoji32.zip").open("rb") as file:
        return read(file)


def read(file: IO[bytes]) -> tuple[NDArray[np.uint8], Sequence[Drawing]]:
    """All images (N, 32, 32, 3) and what they show; ValueError if the pixels are not those of EmojiSet 32."""
    if not features.check("webp"):
        raise ValueError("data=emoji is stored as WebP, which this Pillow does not read: pip install -U pillow")
    try:
        with ZipFile(file) as archive:
            drawings = table(archive)
            styles = np.array([drawing.style for drawing in drawings])
            pixels = np.empty((len(drawings), SIDE, SIDE, 3), np.uint8)
            for style in NAMES["style"]:
                pixels[styles == style] = cut(archive.read(f"{style}.webp"), int((styles == style).sum()))
    except (BadZipFile, KeyError, OSError, zlib.error) as error:
        raise ValueError(f"emoji32.zip is damaged ({error}): install difflab again") from error
    if (found := hashlib.sha256(pixels.data).hexdigest()) != SHA256:
        raise ValueError(f"emoji32.zip is damaged: its pixels have sha256 {found}, not {SHA256}; install difflab again")
    return pixels, drawings


def table(archive: ZipFile) -> Sequence[Drawing]:
    """What the images show: concepts in the order of their codes, each in its styles."""
    concepts = json.loads(archive.read("concepts.json"))
    return [Drawing(**concept, style=style) for concept in concepts for style in concept.pop("styles")]


def cut(sheet: bytes, n: int) -> NDArray[np.uint8]:
    """The first n images (n, 32, 32, 3) of a sheet, row by row."""
    whole = np.asarray(Image.open(io.BytesIO(sheet)))
    grid = whole.reshape(-1, SIDE, COLUMNS, SIDE, 3).swapaxes(1, 2)
    return grid.reshape(-1, SIDE, SIDE, 3)[:n]
