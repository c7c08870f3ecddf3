"""What the labels of a model look up, where that is more than a class.

The book of such a network (captions, numbers or images) is empty when it is built. A training and an evaluation fill it
from the data. The prompts of a call fill it with themselves, and are the classes of that call.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from torch import Tensor, nn

from difflab.backbone import Blend, Book
from difflab.data.module import DataModule
from difflab.data.words import Captions, Vocabulary
from difflab.denoiser.base import AnyDenoiser
from difflab.denoiser.contrast import Contrast

SHOWN = 3  # examples in a message


class Filled(Protocol):
    """A book that is filled with what its labels look up, as `difflab.backbone.Tokens`."""

    classes: int

    def fill(self, rows: Tensor, null: Tensor | None = None) -> None:
        """Hold these rows `(classes, ...)`, one for each label, and another one for the null label if it is given."""


def books(module: nn.Module) -> Iterator[Filled]:
    """The books of a module that are to be filled."""
    return (cast(Filled, each) for each in module.modules() if hasattr(each, "fill"))


def fill(module: nn.Module, data: DataModule) -> None:
    """Fill the books of a module from its data. Raises ValueError for one that reads something else than they have."""
    wanted, rows = [*books(module)], data.rows
    source = type(data.source).__name__
    if rows is None and wanted and data.classes:
        raise ValueError(
            f"book= reads what labels look up, as captions, and the labels of {source} are classes: choose "
            f"book=classes, or data with captions, as data=emoji_captions"
        )
    if rows is not None and not wanted and getattr(module, "classes", None):
        raise ValueError(
            f"the labels of {source} look up more than a class: choose book=tokens for captions, book=vectors for "
            f"numbers or book=images for images, or backbone.classes=0 to model the samples without them"
        )
    if rows is not None:
        for book in wanted:
            book.fill(rows)
    if isinstance(module, Contrast) and isinstance(captions := data.images.lookup, Captions):
        prompts = data.vocabulary(captions.prompts) if data.vocabulary and captions.prompts else None
        module.know(captions.concepts, captions.kinds, prompts)


def between(denoiser: AnyDenoiser, start: Tensor, end: Tensor, weight: Tensor) -> AnyDenoiser:
    """A copy of a denoiser whose label k means a mix of what `start_k` means and, with the weight, of `end_k`."""
    mixed = copy.deepcopy(denoiser)
    for parent in [*mixed.modules()]:
        for name, child in parent.named_children():
            if hasattr(child, "fill"):
                setattr(parent, name, Blend(cast(Book, child), start, end, weight).to(denoiser.device))
    return mixed


def remarks(vocabulary: Vocabulary, texts: Sequence[str]) -> Iterator[str]:
    """What a reader must know of texts: which are cut, and which words a model does not know."""
    if cut := [each for text in texts if (each := vocabulary.cut(text))]:
        examples = "; ".join(map(str, cut[:SHOWN]))
        yield (
            f"{len(cut)} of {len(texts)} texts are longer than the {vocabulary.context - 2} words that are read: "
            f"{examples}{', ..' if len(cut) > SHOWN else ''}"
        )
    if new := [*dict.fromkeys(word for text in texts for word in vocabulary.new(text))]:
        words = ", ".join(new[: 4 * SHOWN])
        yield f"left out, as the training captions do not have them: {words}{', ..' if len(new) > 4 * SHOWN else ''}"


def vocabulary_of(facts: Mapping[str, Any]) -> Vocabulary | None:
    """The vocabulary that weights were trained with, by their `weights.json`; None of a model without captions."""
    stored = facts.get("vocabulary")
    return Vocabulary(tuple(stored["words"]), stored["context"]) if stored else None


@dataclass(frozen=True)
class Prompts:
    """The prompts of a call, and what the null label reads: the empty caption, or a `negative` prompt."""

    texts: Sequence[str]
    negative: str | None = None

    @classmethod
    def of(cls, prompts: Sequence[str], negative: str | None) -> Prompts | None:
        """Those of a configuration; one that names a file stands for its lines. None for none.

        Raises ValueError for an empty file, and for a negative prompt alone.
        """
        texts = [*prompts]
        if len(texts) == 1 and Path(texts[0]).is_file():
            texts = [line.strip() for line in Path(texts[0]).read_text().splitlines() if line.strip()]
            if not texts:
                raise ValueError(f"prompts={prompts[0]}: the file has no lines")
        if not texts and negative is not None:
            raise ValueError("negative= is used beside prompts=[..]: add them, or leave it out")
        return cls(texts, negative) if texts else None

    def fill(self, module: nn.Module, facts: Mapping[str, Any], name: str) -> None:
        """Fill the books of a run's module, and print what of the prompts it does not read.

        Raises ValueError for a run without captions, and for a prompt of which it knows no word.
        """
        vocabulary, wanted = vocabulary_of(facts), [*books(module)]
        if vocabulary is None or not wanted:
            raise ValueError(
                f"prompts=: {name} was trained without captions; label= chooses a class, and a run of "
                f"data=emoji_captions takes prompts"
            )
        every = [*self.texts, *([self.negative] if self.negative else [])]
        if empty := [text for text in every if text and not vocabulary.known(text)]:
            raise ValueError(f"prompts=: {name} knows {len(vocabulary.words):,} words, and none of {empty[0]!r}")
        for remark in remarks(vocabulary, every):
            print(f"prompts: {remark}", flush=True)
        null = None if self.negative is None else vocabulary([self.negative])[0]
        for book in wanted:
            book.fill(vocabulary(self.texts), null)
