"""Which way every score is better, and what it is called; extensions declare their own."""

from __future__ import annotations

import math
import re
from typing import NamedTuple


class Reading(NamedTuple):
    """How a score is read."""

    title: str
    higher_is_better: bool
    low: float = -math.inf  # the smallest value that is possible
    high: float = math.inf  # and the largest


READINGS = {
    "fd": Reading("Fréchet distance", False, 0),
    "fd_inf": Reading("Fréchet distance, n to infinity", False),
    "fid": Reading("FID", False, 0),
    "fid_inf": Reading("FID, n to infinity", False),
    "kid": Reading("Kernel distance", False),
    "precision": Reading("Precision", True, 0, 1),
    "recall": Reading("Recall", True, 0, 1),
    "density": Reading("Density", True, 0),
    "coverage": Reading("Coverage", True, 0, 1),
    "w2": Reading("Wasserstein-2", False, 0),
    "energy": Reading("Energy distance", False),
    "is": Reading("Inception score", True, 1),
    "class_accuracy": Reading("Class accuracy", True, 0, 1),
    "copies": Reading("Copies of training samples", False, 0, 1),
    "nn_gap": Reading("Nearest training against held-out sample", True, -2, 2),  # < 0: training ones are nearer
    "bits_per_dim": Reading("Bits/dim", False),
    "bits_per_dim_bound": Reading("Bits/dim at most", False),
}
FEATURES = {"lite0": "EfficientNet-Lite0", "dinov2": "DINOv2", "classifier": "own classifier"}


def declare_score(
    stem: str, title: str, *, higher_is_better: bool, low: float = -math.inf, high: float = math.inf
) -> None:
    """Say how a score of an extension is read, and its range; its package calls this when it is imported.

    Raises ValueError for a name that is read otherwise already.
    """
    reading = Reading(title, higher_is_better, low, high)
    if READINGS.setdefault(stem, reading) != reading:
        raise ValueError(f"the score {stem} is {READINGS[stem].title} already: choose another name")


def declare_features(suffix: str, title: str) -> None:
    """Say what features the scores that end in `_suffix` are of: those of an extension's extractor.

    Raises ValueError for a suffix that has another title already.
    """
    if FEATURES.setdefault(suffix, title) != title:
        raise ValueError(f"scores in _{suffix} are of {FEATURES[suffix]} already: choose another suffix")


def higher_is_better(key: str) -> bool:
    """Whether more of this score is better; the same holds for its floor. Raises ValueError for an unknown score."""
    return _parsed(key)[0].higher_is_better


def possible(key: str) -> tuple[float, float]:
    """The smallest and the largest possible value of a score. Raises ValueError for an unknown score."""
    reading = _parsed(key)[0]
    return reading.low, reading.high


def title(key: str) -> str:
    """A score in words: "Precision (DINOv2, train)". Raises ValueError for what is no score."""
    reading, match = _parsed(key)
    notes = (FEATURES.get(match["features"]), match["split"], "floor" if match["floor"] else None)
    remark = ", ".join(note for note in notes if note)
    return f"{reading.title} ({remark})" if remark else reading.title


def _parsed(key: str) -> tuple[Reading, re.Match[str]]:
    features = "|".join(FEATURES)
    match = re.fullmatch(
        rf"(?P<stem>\w+?)(_(?P<features>{features}))?(_vs_(?P<split>train|test))?(?P<floor>_floor)?", key
    )
    if match is None or match["stem"] not in READINGS:
        raise ValueError(
            f"{key} is no score: these are {', '.join(READINGS)}, with _{' or _'.join(FEATURES)} for the features, "
            "_vs_train or _vs_test for a second reference, _floor for what real samples reach"
        )
    return READINGS[match["stem"]], match
