"""What decides the trained weights of a run, seeds apart, and the seeds of its training."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from difflab.experiment.run import IDENTITY, INDIFFERENT, Run, digest
from difflab.report.text import as_text

TRAINED = ("paradigm", "data", "schedule", "target", "weighting", "coupling", "times", "backbone")  # groups of options
SEEDS = ("seed", "model.seed", "data.seed")
COPIES = ("model.batch_size", "data.batch_size")  # of a key that is listed already


def flat(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of nested mappings by dotted keys."""
    leaves: dict[str, Any] = {}
    for key, value in node.items():
        leaves |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return leaves


def typed(key: str) -> str:
    """A key of the model as users type it: `schedule.beta_max` for `model.denoiser.schedule.beta_max`."""
    part = key.removeprefix("model.").removeprefix("denoiser.")
    return part if part.partition(".")[0] in TRAINED else key


def identity(config: Mapping[str, Any], runs: Path) -> dict[str, str]:
    """What a configuration says of the weights, seeds apart, by dotted keys; an option's class by its bare name.

    Of a run that they start from, beside it in the folder `runs`, a digest of the same.
    """
    named = {}
    for key, value in flat({key: config[key] for key in IDENTITY}).items():
        if key not in SEEDS + COPIES and key.removeprefix("data.") not in INDIFFERENT:
            text = str(value).rpartition(".")[2] if key.endswith("._target_") else as_text(value)
            named[typed(key).removesuffix("._target_")] = text
    named["data.pairs"] = "given" if config["data"].get("pairs") else ""
    named |= {key: as_text(value) for key, value in flat({"reflowed": config.get("reflowed") or {}}).items()}
    named["init"] = origin(runs / Path(config["init"]).name) if config.get("init") else ""
    return named


def lineage(config: Mapping[str, Any], runs: Path) -> tuple[int, ...]:
    """The seeds of a training, and of the one that it starts from."""
    values = flat(config)
    own = tuple(int(values.get(key, config["seed"])) for key in SEEDS)
    start = runs / Path(config["init"]).name if config.get("init") else None
    return own + (lineage(Run(start).config, runs) if start and (start / "config.yaml").is_file() else ())


def origin(start: Path) -> str:
    """The name of a run that others start from: the same for runs that differ in their seeds alone."""
    if not (start / "config.yaml").is_file():
        return start.name
    label = re.sub(r"-s\d+-[0-9a-f]{8}$", "", start.name)
    return f"{label}-{digest(identity(Run(start).config, start.parent))[:8]}"
