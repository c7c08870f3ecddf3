"""Captions: texts that labels look up, and the words that they are read by."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from difflab.data.ranges import Count

PADDING, START, END, FIRST = 0, 1, 2, 3  # ids: of the marks, and of the first word
WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")


def words_of(text: str) -> list[str]:
    """The words of a text in lower case: letters and digits, with apostrophes and hyphens inside."""
    return WORD.findall(text.lower())


@dataclass(frozen=True, eq=False)
class Captions:
    """The texts that labels look up: label i is `texts[i]`.

    - `forms`: so many texts in a row are forms of one caption. The label of an image is the first of its own; training
      draws one of them.
    - `concepts`: int64 `(len(texts),)`, what a text is about; texts on one concept are no contrast to each other.
      None: each text is a concept of its own.
    - `prompts`: texts of which one is true of each image, as of its style; and `kinds`: int64 `(len(texts),)`, which.

    Raises ValueError for numbers that do not fit together.
    """

    texts: Sequence[str]
    forms: int = 1
    concepts: Tensor | None = None
    prompts: Sequence[str] = ()
    kinds: Tensor | None = None

    def __post_init__(self) -> None:
        if self.forms < 1 or len(self.texts) % self.forms:
            raise ValueError(f"{len(self.texts)} texts are no whole number of captions in {self.forms} forms each")
        for name, each in {"concepts": self.concepts, "kinds": self.kinds}.items():
            if each is not None and each.shape != (len(self.texts),):
                raise ValueError(f"{name} of shape {tuple(each.shape)} for {len(self.texts)} texts")


class Cut(NamedTuple):
    """A text that is longer than the context: what is read of it, and what is not."""

    text: str
    read: Sequence[str]
    left: Sequence[str]

    def __str__(self) -> str:
        return f'"{self.text}" is cut after "{self.read[-1]}"' if self.read else f'"{self.text}" is cut at its start'


@dataclass(frozen=True)
class Vocabulary:
    """The words that a model knows, and how many it reads of a text.

    A text becomes `context` ids: START, the ids of its words, END, and PADDING. The words of `words` count from FIRST;
    others are left out, see `new`. Raises ValueError for no words and for a context without room for any.
    """

    words: Sequence[str]
    context: int

    def __post_init__(self) -> None:
        if not self.words:
            raise ValueError("the captions hold no words: a vocabulary needs some")
        if self.context < 3:
            raise ValueError(f"context={self.context}: the marks of start and end take two, so 3 is the least")

    @cached_property
    def ids(self) -> dict[str, int]:
        """The id of each word."""
        return {word: k for k, word in enumerate(self.words, FIRST)}

    def __len__(self) -> int:
        return len(self.words) + FIRST

    def known(self, text: str) -> list[str]:
        """The words of a text that have an id."""
        return [word for word in words_of(text) if word in self.ids]

    def new(self, text: str) -> list[str]:
        """The words of a text that have none, each once."""
        return [*dict.fromkeys(word for word in words_of(text) if word not in self.ids)]

    def cut(self, text: str) -> Cut | None:
        """What is read of a text that is longer than the context; None of others."""
        known = self.known(text)
        return (
            Cut(text, known[: self.context - 2], known[self.context - 2 :]) if len(known) > self.context - 2 else None
        )

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Texts as ids, int64 `(len(texts), context)`; the empty text is START, END."""
        rows = torch.full((len(texts), self.context), PADDING)
        for row, text in zip(rows, texts, strict=True):
            ids = [START, *(self.ids[word] for word in self.known(text)[: self.context - 2]), END]
            row[: len(ids)] = torch.tensor(ids)
        return rows


@dataclass(frozen=True)
class Words:
    """A tokeniser by words: the most frequent of the training captions.

    - `vocabulary`: ids, of which three are marks; a network's table of words is of this size;
    - `context`: ids that are read of a text, two of them marks.
    """

    vocabulary: Count = 4096
    context: Count = 24

    def __call__(self, texts: Sequence[str]) -> Vocabulary:
        """The vocabulary of texts: the most frequent words, of equal ones the first in alphabetical order."""
        counts = Counter(word for text in texts for word in words_of(text))
        frequent = sorted(counts, key=lambda word: (-counts[word], word))[: max(0, self.vocabulary - FIRST)]
        return Vocabulary(tuple(sorted(frequent)), self.context)
