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
    meaning: str = ""  # one sentence: what it measures


BESIDE = {  # how the names of numbers end that stand beside a score, and what they are
    "_floor": "What real samples get against real ones: ",
    "_se": "The standard error: ",
    "_reconstruction": "What real samples get once the first stage has encoded and decoded them: ",
}
READINGS = {
    "fd": Reading(
        "Fréchet distance",
        False,
        0,
        meaning="The squared distance of two normal laws, fitted to the features of generated and of real samples.",
    ),
    "fd_inf": Reading(
        "Fréchet distance, n to infinity",
        False,
        meaning="The Fréchet distance for infinitely many samples, predicted from those of all samples and of half.",
    ),
    "fid": Reading(
        "FID",
        False,
        0,
        meaning="The Fréchet distance of features of the Inception network: the number that papers report.",
    ),
    "fid_inf": Reading(
        "FID, n to infinity",
        False,
        meaning="The FID for infinitely many samples, predicted from those of all samples and of half.",
    ),
    "kid": Reading(
        "Kernel distance",
        False,
        meaning="The squared distance of the two sets of features by a polynomial kernel: on average 0 for equal laws.",
    ),
    "precision": Reading(
        "Precision", True, 0, 1, "The share of generated samples that lie among real ones: their fidelity."
    ),
    "recall": Reading(
        "Recall", True, 0, 1, "The share of real samples that lie among generated ones: how much of the data is found."
    ),
    "density": Reading(
        "Density",
        True,
        0,
        meaning="How many neighbourhoods of real samples a generated sample lies in, relative to the number expected.",
    ),
    "coverage": Reading(
        "Coverage", True, 0, 1, "The share of real samples with a generated sample in their neighbourhood."
    ),
    "w2": Reading(
        "Wasserstein-2",
        False,
        0,
        meaning="The root of the mean squared distance over which generated points must be moved to become real ones.",
    ),
    "energy": Reading(
        "Energy distance",
        False,
        meaning="Twice the mean distance between generated and real points, less the mean distance within each set.",
    ),
    "is": Reading(
        "Inception score",
        True,
        1,
        meaning="How sure a classifier is of each generated sample, and how evenly they spread over its classes.",
    ),
    "class_accuracy": Reading(
        "Class accuracy",
        True,
        0,
        1,
        "The share of generated samples that a classifier puts in the class of their label.",
    ),
    "psnr": Reading(
        "PSNR",
        True,
        meaning="The mean peak signal-to-noise ratio of samples that were encoded and decoded, in dB.",
    ),
    "text_alignment": Reading(
        "Text alignment",
        True,
        -1,
        1,
        "How near generated images are to their texts, by the product of the unit vectors of a contrastive pair.",
    ),
    "text_retrieval": Reading(
        "Texts found",
        True,
        0,
        1,
        "The share of generated images whose own text is the nearest of all texts that were drawn.",
    ),
    "copies": Reading(
        "Copies of training samples",
        False,
        0,
        1,
        "The share of generated samples that lie closer to one training sample, compared with the ten nearest, than 99 "
        "of 100 held-out samples do.",
    ),
    "nn_gap": Reading(  # < 0: training ones are nearer
        "Nearest training against held-out sample",
        True,
        -2,
        2,
        "Whether generated samples lie nearer to training samples (below 0, memorised) or to held-out ones.",
    ),
    "bits_per_dim": Reading(
        "Bits/dim", False, meaning="The negative log-likelihood of held-out samples, in bits for each of their values."
    ),
    "bits_per_dim_bound": Reading(
        "Bits/dim at most",
        False,
        meaning="An upper bound on the negative log-likelihood of held-out samples, in bits for each of their values.",
    ),
}
FEATURES = {"lite0": "EfficientNet-Lite0", "dinov2": "DINOv2", "classifier": "own classifier"}


def declare_score(
    stem: str, title: str, *, higher_is_better: bool, low: float = -math.inf, high: float = math.inf, meaning: str = ""
) -> None:
    """Declare the title of an extension's score, its range, and in one sentence its meaning.

    Its package calls this when it is imported.

    Raises ValueError for a name that is read otherwise already, or would be: as `n_..`, a number of samples, or by its
    end as a number that stands beside a score.
    """
    match = _matched(stem)
    if match is None or match["stem"] != stem or scored(stem) != stem or re.match("n(_|$)", stem):
        ends = ", ".join([*BESIDE, *(f"_{each}" for each in FEATURES), "_vs_train", "_vs_test"])
        raise ValueError(
            f"the score {stem} would be read as another number: choose a name of letters, digits and _ that is not n, "
            f"does not begin with n_, and ends in none of {ends}"
        )
    reading = Reading(title, higher_is_better, low, high, meaning)
    if READINGS.setdefault(stem, reading) != reading:
        raise ValueError(f"the score {stem} is {READINGS[stem].title} already: choose another name")


def declare_features(suffix: str, title: str) -> None:
    """Say what features the scores that end in `_suffix` are of: those of an extension's extractor.

    Raises ValueError for a suffix that has another title already.
    """
    if FEATURES.setdefault(suffix, title) != title:
        raise ValueError(f"scores in _{suffix} are of {FEATURES[suffix]} already: choose another suffix")


def scored(key: str) -> str:
    """The score that a number belongs to: a key without what the names of the numbers beside a score end with."""
    return key.removesuffix(next((suffix for suffix in BESIDE if key.endswith(suffix)), ""))


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


def better(key: str) -> str:
    """In which direction a score is better, in words: "lower is better". Raises ValueError for what is no score."""
    return f"{'higher' if higher_is_better(key) else 'lower'} is better"


def meaning(key: str) -> str:
    """What a score measures, in one sentence. Raises ValueError for what is no score."""
    reading, match = _parsed(key)
    own = reading.meaning or f"{reading.title}: a score of an extension, which states no meaning."
    return f"{own[:-1]}, of the {match['split']} split." if match["split"] else own


def _matched(key: str) -> re.Match[str] | None:
    features = "|".join(FEATURES)
    return re.fullmatch(
        rf"(?P<stem>\w+?)(_(?P<features>{features}))?(_vs_(?P<split>train|test))?(?P<floor>_floor)?", key
    )


def _parsed(key: str) -> tuple[Reading, re.Match[str]]:
    match = _matched(key)
    if match is None or match["stem"] not in READINGS:
        raise ValueError(
            f"{key} is no score: these are {', '.join(READINGS)}, with _{' or _'.join(FEATURES)} for the features, "
            "_vs_train or _vs_test for a second reference, _floor for what real samples reach"
        )
    return READINGS[match["stem"]], match
