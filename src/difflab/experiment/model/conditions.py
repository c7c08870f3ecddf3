"""What the labels of a model look up, where that is more than a class.

The book of such a network (captions, numbers or images) is empty when it is built. A training and an evaluation fill it
from the data. The prompts of a call fill it with themselves, and are the classes of that call.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from difflab.backbone import Blend, Book, Reader
from difflab.data.codec import Pixels
from difflab.data.module import DataModule
from difflab.data.picture import read as decode
from difflab.data.words import Captions, Vocabulary
from difflab.denoiser.base import AnyDenoiser
from difflab.denoiser.contrast import Contrast
from difflab.experiment.store.stored import check_fields

LONGEST = 4096  # ids of a text
SHOWN = 3  # examples in a message


class Filled(Protocol):
    """A book that is filled with what its labels look up, as `difflab.backbone.Tokens`."""

    classes: int

    def fill(self, rows: Tensor, null: Tensor | None = None) -> None:
        """Hold these rows `(classes, ...)`, one for each label, and another one for the null label if it is given."""

    def prompted(self, texts: Sequence[str], reader: Reader) -> Tensor:
        """The rows that the texts of prompts state."""


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


def look_up(
    modules: Iterable[nn.Module], data: DataModule, prompts: Prompts | None, facts: Mapping[str, Any], name: str
) -> None:
    """Fill the books of a run's modules with the prompts of a call, or else from the data."""
    for module in modules:
        if prompts:
            prompts.fill(module, facts, name)
        elif [*books(module)]:
            fill(module, data)


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
    """The vocabulary that weights were trained with, by their `weights.json`; None of a model without captions.

    Raises ValueError for a damaged one.
    """
    stored = facts.get("vocabulary")
    if stored is None:
        return None
    check_fields(stored, {"words": list[str], "context": int}, Path("vocabulary of weights.json"))
    if not 0 < stored["context"] <= LONGEST:
        raise ValueError(f"the vocabulary's context is {stored['context']}: at most {LONGEST} ids are read of a text")
    return Vocabulary(tuple(stored["words"]), stored["context"])


@dataclass(frozen=True)
class Prompts:
    """The prompts of a call, and what the null label reads: the empty caption, or a `negative` prompt."""

    texts: Sequence[str]
    negative: str | None = None

    @classmethod
    def of(cls, prompts: Sequence[str], negative: str | None) -> Prompts | None:
        """Those of a configuration; a single one that names a .txt file stands for its lines. None for none.

        Raises ValueError for a file that is missing or empty, and for a negative prompt alone.
        """
        texts = [*prompts]
        if len(texts) == 1 and texts[0].endswith(".txt"):
            file = Path(texts[0]).expanduser()
            if not file.is_file():
                raise ValueError(f"prompts={prompts[0]}: there is no such file")
            texts = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
            if not texts:
                raise ValueError(f"prompts={prompts[0]}: the file has no lines")
        if not texts and negative is not None:
            raise ValueError("negative= is used beside prompts=[..]: add them, or leave it out")
        return cls(texts, negative) if texts else None

    def fill(self, module: nn.Module, facts: Mapping[str, Any], name: str) -> None:
        """Fill the books of a run's module, and print what of the prompts it does not read.

        Raises ValueError for a run whose labels are classes, and for prompts that its book cannot read.
        """
        wanted, every = [*books(module)], [*self.texts, *([] if self.negative is None else [self.negative])]
        if not wanted:
            raise ValueError(
                f"prompts={every}: {name} was trained on classes: label= chooses one. Runs with captions take "
                f"prompts, as those of data=emoji_captions"
            )
        reader = Texts(name, facts, getattr(module, "shape", ()))
        for book in wanted:
            rows = book.prompted(every, reader)
            book.fill(rows[: len(self.texts)], None if self.negative is None else rows[-1])


@dataclass(frozen=True)
class Texts:
    """What reads the texts of prompts as rows of a run's books: see `difflab.backbone.Reader`."""

    name: str  # of the run
    facts: Mapping[str, Any]  # of its weights
    shape: Sequence[int]  # of its samples

    def words(self, texts: Sequence[str]) -> Tensor:
        """The token ids of texts; unknown words are printed and left out. Raises ValueError where none is known."""
        vocabulary = vocabulary_of(self.facts)
        if vocabulary is None:
            raise ValueError(f"prompts=: {self.name} keeps no vocabulary; train it again with data that have captions")
        if empty := [text for text in texts if text and not vocabulary.known(text)]:
            known = f"{self.name} knows {len(vocabulary.words):,} words"
            raise ValueError(f"prompts=: {known}, and none of {empty[0]!r}")
        for remark in remarks(vocabulary, texts):
            print(f"prompts: {remark}", flush=True)
        return vocabulary(texts)

    def images(self, texts: Sequence[str], channels: int) -> Tensor:
        """The images of files, of the samples' size. Raises ValueError if one is none."""
        shape = (channels, *self.shape[1:])
        return Pixels().encode(torch.stack([read_image(text, shape) for text in texts]))


def read_image(text: str, shape: Sequence[int]) -> Tensor:
    """The image of a file, uint8 of a shape (C, H, W). Raises ValueError if it is none."""
    try:
        return torch.from_numpy(decode(Path(text).expanduser(), shape).copy())
    except (OSError, ValueError) as error:
        raise ValueError(
            f"prompts=: this run is conditioned on images, and {text} is no image file: {error}"
        ) from error
