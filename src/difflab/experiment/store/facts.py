"""`weights.json`: how to build what a run's weights belong to, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from difflab.experiment.store.legacy import renamed
from difflab.experiment.store.run import Run
from difflab.experiment.store.snapshots import Damaged
from difflab.experiment.store.stored import check_fields, is_number, load_json, short

FORMAT = 4  # of weights.json; difflab 0.1 wrote 3
FIELDS = {"sha256": str, "ema": list[float], "training": Mapping[str, float], "module": Mapping[str, Any]}
LATER = {  # which earlier versions lack
    "snapshots": Mapping[str, str],
    "names": list[str],
    "vocabulary": Mapping[str, Any],
    "best": Mapping[str, Any],
}


def facts_of(run: Run) -> dict[str, Any]:
    """What `weights.json` says.

    Raises ValueError if there is none yet, or one of another format, and Damaged if its fields are of other types.
    """
    try:
        facts = load_json(run.facts)
    except FileNotFoundError as error:
        raise ValueError(
            f"{run.folder} has no weights yet: its training did not finish; the same command goes on"
        ) from error
    except ValueError as error:
        raise Damaged(str(error)) from error
    if facts.get("format") not in (3, FORMAT):
        raise ValueError(f"{run.facts} is of format {short(facts.get('format'))}; this difflab reads 3 and {FORMAT}")
    try:
        check_fields(facts, FIELDS | {key: hint for key, hint in LATER.items() if key in facts}, run.facts)
    except ValueError as error:
        raise Damaged(str(error)) from error
    costs, steps = facts["training"].values(), facts.get("snapshots", {})
    if not facts["ema"] or not all(0 <= decay < 1 for decay in facts["ema"]):
        raise Damaged(f"{run.facts} is damaged: its ema is {short(facts['ema'])}")
    if not all(map(is_number, costs)) or not all(len(step) < 19 and step.isdecimal() for step in steps):
        raise Damaged(f"{run.facts} is damaged: its costs or the steps of its snapshots are no numbers")
    if type(facts.get("best", {}).get("step", 0)) is not int:
        raise Damaged(f"{run.facts} is damaged: the step of its best weights is {short(facts['best']['step'])}")
    return facts if facts["format"] == FORMAT else {**facts, "module": renamed(facts["module"])}
