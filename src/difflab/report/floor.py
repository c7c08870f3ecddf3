"""The floor of a score: what real samples get against real ones, at the n of the evaluations, or why there is none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from difflab.report.record import Record

# Scores whose floor does not depend on n: it is of all held-out samples, or of the texts' real images.
OF_ALL = ("copies", "bits_per_dim", "bits_per_dim_bound", "class_accuracy")
OF_TEXTS = ("text_alignment", "text_retrieval")
EXTRAPOLATED = re.compile(r"floor extrapolated to n=\d+ from (\d+) real samples")  # a note of an evaluation


@dataclass(frozen=True)
class Floor:
    """The score of real samples; None if it is not known. `at` is the n that it holds for, or why it is not known."""

    value: float | None
    at: str

    def __str__(self) -> str:
        """`1.2 (n=2,000)`, or `none: ..`."""
        return f"none: {self.at}" if self.value is None else f"{self.value:.4g} ({self.at})"


def floor_of(records: Sequence[Record], metric: str) -> Floor | None:
    """The mean floor of evaluations of one protocol; None for a metric that has none by its nature."""
    key, suffix = f"{metric}_floor", found[0] if (found := re.search("_vs_(train|test)$", metric)) else ""
    values = [record.metrics[key] for record in records if key in record.metrics]
    if metric in OF_ALL:
        return Floor(fmean(values), "of held-out samples") if values else None
    if metric in OF_TEXTS:
        return Floor(fmean(values), "of the real images of these texts") if values else None
    if not values:
        reasons = [note for record in records for note in record.notes.get(metric, "").split("; ")]
        return next((Floor(None, note.removeprefix("no floor: ")) for note in reasons if "no floor" in note), None)
    measured = [record for record in records if key in record.metrics]
    n = measured[0].card.n_generated
    at = min(record.metrics.get(f"n_floor{suffix}", n) for record in measured)
    if at < n:
        return Floor(None, f"it was measured at n={at:,} by an older difflab, and the samples at n={n:,}")
    origin: float
    if metric == "is_classifier":  # its floor is of other samples than those of the distances
        notes = [EXTRAPOLATED.search(record.notes.get(metric, "")) for record in measured]
        origin = min((int(note[1]) for note in notes if note), default=n)
    else:
        origin = min(record.metrics.get(f"n_floor_from{suffix}", n) for record in measured)
    return Floor(fmean(values), f"n={n:,}" if origin >= n else f"n={n:,}, from {origin:,} real samples")
