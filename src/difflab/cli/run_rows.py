"""What `difflab runs` says of a run: a row of plain values."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from typing import Any

from difflab.experiment.store.run import Run
from difflab.experiment.store.stored import entries, read_lines
from difflab.experiment.store.stored_evaluation import read_evaluation
from difflab.experiment.store.typed import distinctions, settings_of, words_of
from difflab.metric.direction import higher_is_better


def row_of(run: Run) -> dict[str, Any]:
    """What a line says of a run."""
    config = run.config
    choices = config.get("choices", {})
    score, best = best_of(run)
    return {
        "run": run.folder.name,
        "state": state_of(run, config["images"]),
        "paradigm": choices.get("paradigm", ""),
        "data": choices.get("data", ""),
        "images": config["images"],
        "score": score,
        "best": best,
        "bytes": sum(entry.stat(follow_symlinks=False).st_size for entry in entries(run.folder) if entry.is_file()),
        "age": round(time.time() - (run.folder / "config.yaml").stat().st_mtime),
        "settings": settings_of(config),
        "words": words_of(config),
    }


def state_of(run: Run, images: int) -> str:
    """`finished`, or how much of its budget a run has seen."""
    if run.result is not None:
        return "finished"
    seen = 0
    for line in reversed(read_lines(run.folder / "metrics.jsonl")):
        try:
            seen = int(json.loads(line)["images_seen"])
            break
        except (ValueError, TypeError, LookupError, RecursionError):  # a line that was cut off
            continue
    return f"{seen / max(images, 1):.0%} trained"


def best_of(run: Run) -> tuple[str, float | None]:
    """The first score with a floor that its evaluations have, and the best number that it came to."""
    found = [each["metrics"] for each in evaluations_of(run)]
    scores = [key for metrics in found for key in metrics if f"{key}_floor" in metrics and key != "n"]
    if not scores:
        return "", None
    values = [metrics[scores[0]] for metrics in found if math.isfinite(metrics.get(scores[0], math.nan))]
    return scores[0], (max if higher_is_better(scores[0]) else min)(values, default=None)


def evaluations_of(run: Run) -> list[dict[str, Any]]:
    """The evaluations of a run; those that are damaged are left out."""
    return [each for path in sorted(run.evaluations.glob("*.json")) if (each := read_evaluation(path))]


def distinguish(rows: Sequence[dict[str, Any]]) -> None:
    """Give each row, as `apart`, the settings in which it differs from others of its paradigm and data."""
    groups: dict[object, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["paradigm"], row["data"]), []).append(row)
    for alike in groups.values():
        for row, apart in zip(alike, distinctions([each["words"] for each in alike]), strict=True):
            row["apart"] = apart
