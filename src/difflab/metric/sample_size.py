"""How a score depends on the number of samples, and so from how many real ones its floor may come."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from torch import Tensor
from typing_extensions import override

from difflab.metric.distance import thinned

FEW = 100  # samples below which no distance between distributions means much
FEWEST = 4  # vectors for each of their dimensions, for the law 1/n of the Frechet distance

Values = Callable[[Any, Tensor], Sequence[float]]


class Counts(NamedTuple):
    """Generated samples, those of the reference, those of the other split, and the dimensions of a feature."""

    n: int
    reference: int
    other: int
    width: int


class SampleSize(Protocol):
    """How a score depends on the number of samples."""

    def floor(self, values: Values, other: Tensor, real: Tensor, n: int) -> Sequence[float]:
        """The values of n real samples, from features of n or fewer of the other split; nan where that is unknown."""

    def remarks(self, counts: Counts) -> Iterator[str]:
        """What a reader must know of the numbers of samples, known before anything is measured."""


@dataclass(frozen=True)
class AsMany:
    """A score whose value depends on n in no known way: its floor takes as many real samples as are generated."""

    def compared(self, n: int, reference: int) -> int:
        """How many generated samples take part."""
        return n

    def floor(self, values: Values, other: Tensor, real: Tensor, n: int) -> Sequence[float]:
        """The values of as many as are compared; nan if there are fewer."""
        size = self.compared(n, len(real))
        found = values(thinned(other, size), real)
        return found if len(other) >= size else [math.nan] * len(found)

    def remarks(self, counts: Counts) -> Iterator[str]:
        """How many are compared, and why there is no floor."""
        size = self.compared(counts.n, counts.reference)
        if size < counts.n:
            yield f"{size} samples of each set are compared"
        if counts.other < size:
            yield f"no floor: it takes {size} real samples of the other split, which has {counts.other}"


@dataclass(frozen=True)
class EqualSets(AsMany):
    """A score of equally many samples of either set: as many as the smaller one has, `most` at most."""

    most: float = math.inf

    @override
    def compared(self, n: int, reference: int) -> int:
        return int(min(n, reference, self.most))


@dataclass(frozen=True)
class Unbiased:
    """A score whose mean does not depend on the number of samples: its floor may come from fewer, with more noise."""

    def floor(self, values: Values, other: Tensor, real: Tensor, n: int) -> Sequence[float]:
        """The values of all there are."""
        return values(other, real)

    def remarks(self, counts: Counts) -> Iterator[str]:
        """From how many the floor comes."""
        if counts.other < counts.n:
            yield f"floor from {counts.other} real samples: its mean does not depend on their number"


@dataclass(frozen=True)
class InverseBias:
    """A score and its limit for n to infinity: the Frechet distance, of which samples of one law have `b (1/n + 1/m)`.

    The floor at n from N < n real samples is `d(N) (1/n + 1/m) / (1/N + 1/m)`. It takes N >= 4 D, for terms in 1/N^2,
    and splits of one law: of a shift between them the same share is lost. The unbiased `limit + (d(N) - limit) N / n`,
    which keeps a shift, has the absolute error of d(N), often more than the floor itself at n = 10 N.
    The law 1/n is that of Chong & Forsyth 2020 (arXiv:1911.07023).
    """

    def floor(self, values: Values, other: Tensor, real: Tensor, n: int) -> Sequence[float]:
        """The values of n, extrapolated; nan if there are too few for that."""
        whole, limit = values(other, real)
        if len(other) >= n:
            return whole, limit
        share = (1 / n + 1 / len(real)) / (1 / len(other) + 1 / len(real))
        return math.nan if math.isnan(limit) else whole * share, limit

    def remarks(self, counts: Counts) -> Iterator[str]:
        """Where covariances are singular, and where the floor comes from."""
        for size, which in ((counts.n, "generated"), (counts.reference, "reference")):
            if size <= counts.width:
                yield f"{size} {which} samples for {counts.width} features: their covariance is singular"
        if counts.n < FEWEST * counts.width:
            yield f"the limit for n to infinity takes {FEWEST * counts.width} samples and is left out"
        if counts.other < counts.n and counts.other >= FEWEST * counts.width:
            yield f"floor extrapolated to n={counts.n} from {counts.other} real samples"
        elif counts.other < counts.n:
            least = FEWEST * counts.width
            yield f"no floor: it takes {min(counts.n, least)} real samples of the other split, which has {counts.other}"
