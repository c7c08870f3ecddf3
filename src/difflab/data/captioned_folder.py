"""Any folder of images with captions."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch

from difflab.data.caption_files import captioned
from difflab.data.folder import Folder
from difflab.data.images import Images, Split
from difflab.data.picture import opened
from difflab.data.ranges import Count, Seed
from difflab.data.words import Captions

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CaptionedFolder:
    """The images of a folder and of those below it, each with the text that `captioned` finds for it.

    Images are read as by `Folder`, all by one range of `values`. Texts that are equal are one caption, and one concept.
    A caption is held out, with all of its images, if the hash of (seed, the caption) falls into the fraction held_out.
    Raises ValueError as `Folder` and `captioned` do.

    - `skip_uncaptioned`: leave images without a text out, and print how many, rather than refuse them.
    - `skip_unreadable`: leave files that cannot be read out, too. Their captions remain among the names.
    """

    paths: ClassVar[tuple[str, ...]] = ("root",)
    as_before: ClassVar[Mapping[str, object]] = {"values": None, "skip_unreadable": False}
    root: str
    shape: Sequence[Count]
    held_out: float = 0.1
    seed: Seed = 0
    skip_uncaptioned: bool = False
    values: tuple[float, float] | None = None
    skip_unreadable: bool = False

    def load(self) -> Images:
        """Decode all images, in threads."""
        texts, without = captioned(self.root, self.skip_uncaptioned)
        if without:
            log.warning("%d images without a caption are left out, %s first", len(without), without[0])
        captions = sorted({*texts.values()})
        places = {text: k for k, text in enumerate(captions)}
        aside = {text for text in captions if self._fraction(text) < self.held_out}
        folder = Folder(self.root, self.shape, values=self.values, skip_unreadable=self.skip_unreadable)
        found, readable, notes = folder.decode([partial(opened, file) for file in texts], [*map(str, texts)])
        every = [*texts.values()]
        own = [every[i] for i in readable]
        held = torch.tensor([text in aside for text in own])
        if held.all() or not held.any():
            raise ValueError(
                f"data.source.held_out={self.held_out} puts the captions of {int(held.sum())} of {len(held)} images in "
                f"{self.root} aside: choose a fraction that leaves captions on both sides"
            )
        x, y = torch.from_numpy(found), torch.tensor([places[text] for text in own])
        train, test = (Split(x[rows], y[rows]) for rows in (~held, held))
        return Images(train, test, tuple(captions), lookup=Captions(captions), notes=tuple(notes))

    def _fraction(self, text: str) -> float:
        digest = hashlib.sha256(f"{self.seed}/{text}".encode()).digest()
        return int.from_bytes(digest[:8]) / 2**64
