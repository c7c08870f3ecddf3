"""Where the ticks of an axis stand: at the values that were typed, or else at several round values in its range."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

FEWEST = 3  # ticks that an axis has at least, where its values differ
ROUND = (1, 2, 5)


def asked(nfes: Iterable[float]) -> list[float]:
    """The NFE that evaluations were limited to, rising; those of adaptive samplers, 0, have no tick."""
    return sorted({nfe for nfe in nfes if nfe})


def logarithmic(values: Iterable[float]) -> list[float]:
    """Ticks of a logarithmic axis that shows these positive values: 1, 2 and 5 of each power of ten in their range.

    Where fewer than three of these are in the range, equidistant round values. Values that are not positive are left
    out, as the axis does not show them.
    """
    shown = [value for value in values if 0 < value < math.inf]
    if not shown:
        return []
    low, high = min(shown), max(shown)
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    candidates = [float(f"{digit}e{power}") for power in powers for digit in ROUND]
    inside = [tick for tick in candidates if low <= tick <= high]
    if len(inside) >= FEWEST:
        return candidates
    return linear(low, high) if high > low else [low]


def linear(low: float, high: float) -> list[float]:
    """Equidistant round values between low and high, at least three, and one beyond each end."""
    width = (high - low) / (FEWEST + 1)
    power = math.floor(math.log10(width))
    step = max(digit * 10.0**power for digit in ROUND if digit * 10.0**power <= width * (1 + 1e-9))
    first, last = math.floor(low / step), math.ceil(high / step)
    return [float(f"{k * step:.10g}") for k in range(first, last + 1) if k > 0]


def texts(ticks: Sequence[float]) -> list[str]:
    """Ticks as plain numbers."""
    return [f"{tick:g}" for tick in ticks]
