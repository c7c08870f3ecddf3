"""An evaluation as it is read from its file: each field is of the type, and of the size, that its readers rely on."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_type_hints

from difflab.experiment.store.stored import check_fields, is_number, load_json, no_number, short
from difflab.metric.card import ProtocolCard
from difflab.metric.direction import possible, scored

FIELDS = {
    "metrics": Mapping[str, float],
    "cost": Mapping[str, float | str],
    "card": Mapping[str, Any],
    "choices": Mapping[str, str | list[str] | None],
    "command": str,
}
LATER = {"notes": Mapping[str, str], "study": str | None}  # which the evaluations of earlier versions lack
COSTS = {"nfe": float, "seconds": float, "seconds_per_sample": float, "network_share": float}
LATER_COSTS = {"peak_memory": float, "device": str}
COUNTS = re.compile(r"n(_reference|_floor|_floor_from)?(_vs_(train|test))?")
LIKELIHOOD = (  # the fields of a card that a likelihood depends on
    *("likelihood", "n_likelihood", "reference_sha256", "weights", "precision", "noise", "extensions"),
)
PICTURES = ("samples", "steps", "pairs")  # the kinds that may stand beside it
LONGEST = 4000  # characters of a text of the card, a cost or a note


def load_evaluation(path: Path) -> dict[str, Any]:
    """The fields of an evaluation's file. Raises FileNotFoundError, and ValueError for what is damaged."""
    found = load_json(path, diverged)
    given = {key: hint for key, hint in LATER.items() if key in found}
    check_fields(found, FIELDS | given, path)
    check_fields(found["cost"], COSTS | {key: hint for key, hint in LATER_COSTS.items() if key in found["cost"]}, path)
    check_names(found["cost"], COSTS | LATER_COSTS, "cost", path)
    check_metrics(found["metrics"], path)
    card_of(found, path)
    texts = [*found["cost"].items(), *found["card"].items(), *found.get("notes", {}).items(), *found["choices"].items()]
    for name, value in texts:
        if isinstance(value, str) and len(value) > LONGEST:
            raise ValueError(f"{path} is refused: its {name} is a text of {len(value):,} characters")
        if isinstance(value, int | float) and not is_number(value):
            raise ValueError(f"{path} is refused: its {name} is {short(value)}")
    return found


def diverged(word: str) -> float:
    """NaN, the score of samples that diverged. Raises ValueError for Infinity."""
    return math.nan if word == "NaN" else no_number(word)


def stored_likelihoods(folders: Iterable[Path], card: Mapping[str, Any]) -> dict[str, float] | None:
    """The likelihoods of another evaluation in one of the folders; None where none measured the same as a card says."""
    for folder in dict.fromkeys(folders):
        for found in filter(None, map(read_evaluation, sorted(folder.glob("*.json")))):
            if all(found["card"].get(field) == card[field] for field in LIKELIHOOD):
                return {name: value for name, value in found["metrics"].items() if name.startswith("bits_per_dim")}
    return None


def read_evaluation(path: Path) -> dict[str, Any] | None:
    """The same; None where there is none, or where it is damaged."""
    try:
        return load_evaluation(path)
    except (FileNotFoundError, ValueError):
        return None


def check_metrics(metrics: Mapping[str, float], path: Path) -> None:
    """Raise ValueError unless the numbers of samples are there, all names are known, and all values are finite."""
    check_fields(metrics, dict.fromkeys(("n", "n_reference", "n_floor"), float), path)
    for name, value in metrics.items():
        if not (is_number(value) or math.isnan(value)):
            raise ValueError(f"{path} is refused: its {name} is {short(value)}")
        if not COUNTS.fullmatch(name):
            try:
                possible(scored(name))
            except ValueError as error:
                raise ValueError(f"{path} is refused: {str(error)[:200]}") from error


def card_of(found: Mapping[str, Any], path: Path) -> ProtocolCard:
    """The protocol card of an evaluation. Raises ValueError for one that is none of this version of difflab."""
    hints, card = get_type_hints(ProtocolCard), found["card"]
    required = [f.name for f in fields(ProtocolCard) if f.default is MISSING and f.default_factory is MISSING]
    check_names(card, hints, "card", path)
    check_fields(card, {name: hints[name] for name in hints if name in card or name in required}, path)
    if not 0 <= card["nfe"] < 1e9:
        raise ValueError(f"{path} is refused: its nfe is {short(card['nfe'])}")
    return ProtocolCard(**card)


def check_names(found: Mapping[str, Any], known: Mapping[str, Any], what: str, path: Path) -> None:
    """Raise ValueError for a name that is not known: a later difflab wrote it, or none did."""
    if unknown := sorted(set(found) - set(known)):
        raise ValueError(f"{path} is no evaluation of this version of difflab: its {what} has {short(unknown[0])}")
