"""Any folder of images with captions."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from difflab.data.caption_files import captioned
from difflab.data.folder import Folder
from difflab.data.images import Images, Split
from difflab.data.ranges import Count, Seed
from difflab.data.words import Captions

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CaptionedFolder:
    """The images of a folder and of those below it, each with the text that `captioned` finds for it.

    Images are read as by `Folder`. Texts that are equal are one caption, and one concept. A caption is held out, with
    all of its images, if the hash of (seed, the caption) falls into the fraction held_out. Raises ValueError as
    `Folder` and `captioned` do.

    - `skip_uncaptioned`: leave images without a text out, and print how many, rather than refuse them.
    """

    paths: ClassVar[tuple[str, ...]] = ("root",)
    root: str
    shape: Sequence[Count]
    held_out: float = 0.1
    seed: Seed = 0
    skip_uncaptioned: bool = False

    def load(self) -> Images:
        """Decode all images, in threads."""
        texts, without = captioned(self.root, self.skip_uncaptioned)
        if without:
            log.warning("%d images without a caption are left out, %s first", len(without), without[0])
        captions = sorted({*texts.values()})
        places = {text: k for k, text in enumerate(captions)}
        aside = {text for text in captions if self._fraction(text) < self.held_out}
        held = [file for file, text in texts.items() if text in aside]
        kept = [file for file, text in texts.items() if text not in aside]
        if not held or not kept:
            raise ValueError(
                f"held_out={self.held_out} puts the captions of {len(held)} of {len(texts)} images in {self.root} "
                f"aside: choose a fraction that leaves captions on both sides"
            )
        train, test = (
            Split(Folder(self.root, self.shape).decode(part), torch.tensor([places[texts[file]] for file in part]))
            for part in (kept, held)
        )
        return Images(train, test, tuple(captions), lookup=Captions(captions))

    def _fraction(self, text: str) -> float:
        digest = hashlib.sha256(f"{self.seed}/{text}".encode()).digest()
        return int.from_bytes(digest[:8]) / 2**64
