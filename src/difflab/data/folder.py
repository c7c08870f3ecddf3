"""Any images of one's own: a folder, a list of files, or an array."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from difflab.data.array_file import images_of, labels_of
from difflab.data.decoding import LARGEST
from difflab.data.images import Images, Split
from difflab.data.layout import Layout, scan
from difflab.data.picture import MODES, Picture, Values, extent_of, opaque, opened, row, standard
from difflab.data.ranges import Count, Seed

NAMED = 5  # unreadable files that a message names
RANGE = "data.source.values=[LOW,HIGH] says which become black and white"

Reader = Callable[[], AbstractContextManager[Picture]]


class Decoded(NamedTuple):
    """The readable images, uint8 (N, C, H, W), their indices among all images, and notes on them."""

    pixels: NDArray[np.uint8]
    readable: list[int]
    notes: list[str]


@dataclass(frozen=True)
class Folder:
    """Images of any size and mode (layout: `scan`), brought to one shape (C, H, W) and kept in memory as 8 bits.

    C = 1 is grey, 3 RGB, 4 RGBA; where C < 4, transparency is laid on white. Images are resized until they cover
    (H, W) with Pillow's antialiased bicubic filter (Parmar et al. 2022, arXiv:2104.11222), then centre-cropped.
    An image is held out if the hash of (seed, its path in the folder) falls into the fraction held_out, so that adding
    files moves none between the splits; of a class that has no other image, one stays in training.
    Of arrays and of deep images, which have more than 8 bits or are floats, `values` become black and white; None: of
    8 bits 0..255, of deep images the smallest of the usual ranges that holds them all, see `standard`; transparency has
    its own range, see `opaque`. With skip_unreadable, files that cannot be read are left out.
    Raises ValueError for another number of channels, a split without images, and unreadable files (named, at most 5).
    """

    paths: ClassVar[tuple[str, ...]] = ("root",)
    root: str
    shape: Sequence[Count]
    held_out: float = 0.1
    seed: Seed = 0
    values: tuple[float, float] | None = None
    skip_unreadable: bool = False

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or self.shape[0] not in MODES:
            raise ValueError(f"shape={list(self.shape)} must be [C, H, W] with C = 1 (grey), 3 (RGB) or 4 (RGBA)")
        if not all(1 <= side <= LARGEST for side in self.shape[1:]):
            raise ValueError(f"data.shape={list(self.shape)}: height and width must lie in 1..{LARGEST}")
        if self.values and not self.values[0] < self.values[1]:
            raise ValueError(f"data.source.values={list(self.values)}: the first must be less than the second")

    def load(self) -> Images:
        """Decode all images, in threads."""
        layout = scan(self.root)
        if layout.array:
            array = images_of(layout.array)
            labels, names = labels_of(layout.array)
            if labels and len(labels) != len(array):
                raise ValueError(f"{layout.array} has {len(array)} images and {len(labels)} labels")
            top = opaque(array)
            rows = [partial(row, each, top) for each in array]
            return self._split(layout, rows, [str(i) for i in range(len(rows))], [*labels] or [0] * len(rows), names)
        paths = [inside(file, layout.root) for file in layout.files]
        return self._split(layout, [partial(opened, file) for file in layout.files], paths, layout.labels, layout.names)

    def _split(
        self,
        layout: Layout,
        readers: Sequence[Reader],
        paths: Sequence[str],
        labels: Sequence[int],
        names: tuple[str, ...],
    ) -> Images:
        """Both splits, training first in the order of the paths."""
        pixels, readable, notes = self.decode(readers, [str(layout.root / path) for path in paths])
        y = np.array(labels, np.int64)[readable]
        held = self._held_out([paths[i] for i in readable], y)
        n = len(held) - int(held.sum())
        if not 0 < n < len(held):
            raise ValueError(
                f"data.source.held_out={self.held_out} puts {len(held) - n} of the {len(held)} images in {self.root} "
                "aside: choose a fraction that leaves images on both sides"
            )
        order = np.argsort(held, kind="stable")
        images, classes = torch.from_numpy(pixels[order]), torch.from_numpy(y[order])
        if layout.left_out:
            notes.append(f"left out: {', '.join(f'{n} {why}' for why, n in sorted(layout.left_out.items()))}")
        return Images(Split(images[:n], classes[:n]), Split(images[n:], classes[n:]), names, notes=tuple(notes))

    def _held_out(self, paths: Sequence[str], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which images are held out: never all of a class, if the set has more than one."""
        fractions = np.array([self._fraction(path) for path in paths])
        held = fractions < self.held_out
        for label in np.unique(labels) if len(np.unique(labels)) > 1 else ():
            own = np.flatnonzero(labels == label)
            if held[own].all():
                held[own[fractions[own].argmax()]] = False
        return held

    def _fraction(self, path: str) -> float:
        digest = hashlib.sha256(f"{self.seed}/{path}".encode()).digest()
        return int.from_bytes(digest[:8]) / 2**64

    def decode(self, readers: Sequence[Reader], names: Sequence[str]) -> Decoded:
        """Images by one range of values. Raises ValueError for those that cannot be read, by their names."""
        pixels = np.empty((len(readers), *self.shape), np.uint8)
        kinds: list[str] = [""] * len(readers)  # the size and the mode of each
        ranged = [False] * len(readers)  # whether values said which are black and white

        def decode(i: int, values: Values | None) -> str | tuple[float, float] | None:
            """Why the image cannot be read, or the least and largest value of a deep one whose range is not known."""
            try:
                with readers[i]() as picture:
                    kinds[i] = picture.kind
                    if picture.deep and values is None:
                        return extent_of(picture)
                    pixels[i] = picture.fitted(self.shape, values)
                    ranged[i] = picture.numbers and values is not None
            except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
                return f"  {names[i]}: {str(error) or type(error).__name__}"
            return None

        given = Values(*self.values) if self.values else None
        with ThreadPoolExecutor() as pool:
            answers = list(pool.map(decode, range(len(readers)), [given] * len(readers)))
            deep = [i for i, answer in enumerate(answers) if isinstance(answer, tuple)]
            found = standard([answers[i] for i in deep], [kinds[i] for i in deep], RANGE) if deep else given
            for i, answer in zip(deep, pool.map(decode, deep, [found] * len(deep)), strict=True):
                answers[i] = answer
        unreadable = [answer for answer in answers if isinstance(answer, str)]
        readable = [i for i, answer in enumerate(answers) if answer is None]
        if unreadable and not (self.skip_unreadable and readable):
            lines = "\n".join(unreadable[:NAMED])
            way = "\ndata.source.skip_unreadable=true leaves them out" if readable else ""
            raise ValueError(f"{len(unreadable)} of {len(readers)} images cannot be read:\n{lines}{way}")
        most = Counter(kinds[i] for i in readable).most_common(3)
        notes = [f"found: {', '.join(f'{n} of {kind}' for kind, n in most)}"]
        if found and any(ranged):
            notes.append(f"values {found.low:g}..{found.high:g} are black to white (data.source.values)")
        elif given:
            notes.append("data.source.values changes nothing: the files have 8 bits")
        if unreadable:
            notes.append(f"left out: {len(unreadable)} unreadable")
        return Decoded(pixels[readable], readable, notes)


def inside(file: Path, root: Path) -> str:
    """The path of a file from a folder, which it may lie outside of."""
    path = file.relative_to(root) if file.is_relative_to(root) else Path(os.path.relpath(file, root))
    return path.as_posix()
