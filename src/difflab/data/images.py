"""Sets of samples as values, as they are stored."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from difflab.data.words import Captions

LISTED = 20  # classes that a summary names


@dataclass(frozen=True, eq=False)
class Split:
    """Samples x: (N, *shape), as the data's codec stores them, with labels y: int64 (N,), 0 where there are no classes.

    With `eps`, the noise that each x was generated from, both are float32 of one shape, as models see them.
    Raises ValueError if a type or shape is another one; the DataModule checks the type of stored samples.
    """

    x: Tensor
    y: Tensor
    eps: Tensor | None = None

    def __post_init__(self) -> None:
        x, eps = self.x, self.eps
        if eps is not None and not (x.dtype == eps.dtype == torch.float32 and x.shape == eps.shape):
            raise ValueError(
                f"x and eps must both be float32 of one shape, "
                f"not {x.dtype} {tuple(x.shape)} and {eps.dtype} {tuple(eps.shape)}"
            )
        if self.y.dtype != torch.int64 or self.y.shape != self.x.shape[:1]:
            raise ValueError(f"labels must be int64 ({len(self.x)},), not {self.y.dtype} {tuple(self.y.shape)}")

    def __len__(self) -> int:
        return len(self.x)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample: (C, H, W), (D,), ..."""
        return tuple(self.x.shape[1:])

    @cached_property
    def sha256(self) -> str:
        """Sum of the bytes of x in the order of its axes, then of those of eps."""
        parts = [self.x] if self.eps is None else [self.x, self.eps]
        digest = hashlib.sha256()
        for part in parts:
            digest.update(part.contiguous().numpy().data)
        return digest.hexdigest()

    @cached_property
    def labelled_sha256(self) -> str:
        """The same of the samples with their labels."""
        return hashlib.sha256(self.sha256.encode() + self.y.contiguous().numpy().tobytes()).hexdigest()


@dataclass(frozen=True, eq=False)
class Images:
    """A training split, a held-out split, and what labels mean: names of classes (none: unlabelled), or more.

    `lookup` is what labels look up where that is more than a class: captions, whose texts are the `names`, too; or
    numbers or an image for each label, float `(labels, ...)`. `selection` was set aside from the held-out samples, to
    choose settings by. `notes` say how the source found them: sizes, ranges, what was left out.
    """

    train: Split
    test: Split
    names: tuple[str, ...] = ()
    selection: Split | None = None
    lookup: Captions | Tensor | None = None
    notes: tuple[str, ...] = ()

    @property
    def classes(self) -> int:
        """How many labels there are."""
        return len(self.lookup) if isinstance(self.lookup, Tensor) else len(self.names)

    def looked_up(self, split: Split) -> Tensor | None:
        """The labels of a split, where they look up more than a class: None of classes, which are drawn in turn."""
        return None if self.lookup is None else split.y

    @property
    def forms(self) -> int:
        """How many labels in a row are forms of one."""
        return self.lookup.forms if isinstance(self.lookup, Captions) else 1

    @cached_property
    def lookup_sha256(self) -> str | None:
        """Sum of what labels look up, where that is more than a class."""
        match self.lookup:
            case Captions(texts=texts, forms=forms, concepts=concepts):  # by all that changes a training
                known = json.dumps([[*texts], forms, None if concepts is None else concepts.tolist()]).encode()
            case Tensor():
                known = self.lookup.contiguous().numpy().tobytes()
            case _:
                return None
        return hashlib.sha256(known).hexdigest()

    @cached_property
    def held_out_sha256(self) -> str:
        """Sum of the held-out samples with their labels, and of those that were set aside from them."""
        parts = [self.test] if self.selection is None else [self.test, self.selection]
        return hashlib.sha256("".join(part.labelled_sha256 for part in parts).encode()).hexdigest()

    @property
    def summary(self) -> str:
        """How many there are, of which shape and classes, and the notes."""
        parts = {"training": self.train, "held-out": self.test, "set aside for selection": self.selection}
        counts = ", ".join(f"{len(split):,} {name}" for name, split in parts.items() if split)
        lines = [f"{counts}, of shape {list(self.train.shape)}"]
        if self.lookup is not None:
            lines.append(f"{self.classes:,} {'captions' if isinstance(self.lookup, Captions) else 'conditions'}")
        elif self.names:
            each = torch.bincount(self.train.y, minlength=len(self.names)).tolist()
            rest = torch.bincount(self.test.y, minlength=len(self.names)).tolist()
            shown = [f"{name} {a}+{b}" for name, a, b in zip(self.names, each, rest, strict=True)][:LISTED]
            more = f", and {len(self.names) - LISTED} more" if len(self.names) > LISTED else ""
            lines.append(f"{len(self.names)} classes (training+held-out): {', '.join(shown)}{more}")
        return "; ".join([*lines, *self.notes])

    def set_aside(self, n: int) -> Images:
        """The same with n held-out samples, spread over their order, in `selection` and no longer in `test`.

        Raises ValueError unless two are left in either.
        """
        if not n:
            return self
        if not 2 <= n <= len(self.test) - 2:
            raise ValueError(
                f"data.selection={n} of {len(self.test)} held-out samples: leave two at least in each part"
            )
        chosen = torch.zeros(len(self.test), dtype=torch.bool)
        chosen[torch.linspace(0, len(self.test) - 1, n).round().long()] = True
        aside, rest = (Split(self.test.x[rows], self.test.y[rows]) for rows in (chosen, ~chosen))
        return replace(self, test=rest, selection=aside)


class Batch(NamedTuple):
    """Samples, their labels, and the noise that each sample was generated from, where the data are such pairs."""

    x: Tensor
    y: Tensor
    eps: Tensor | None = None


class Source(Protocol):
    """Where samples come from."""

    def load(self) -> Images:
        """Read the whole set into memory."""
