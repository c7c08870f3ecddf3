"""The settings of stored runs by the keys that users type, and those by which runs are distinguished."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from difflab.experiment.parts.earlier_words import MOVED
from difflab.experiment.parts.identity import IDENTITY, RECORDS, flat

TRAINED = (  # groups of options
    *("paradigm", "data", "schedule", "target", "weighting", "coupling", "times", "backbone"),
    *("optimizer", "lr_schedule"),
)
COPIES = ("model.batch_size", "data.batch_size")  # of a key that is listed already
SEEDS = ("model.seed", "data.seed")  # which follow `seed`
UNSEEN = ("logger", "protocol", "trainer", "sampler", "grid", "guidance", "range")  # groups that decide no weights
SHOWN = 3  # settings that distinguish a run


def typed(key: str) -> str:
    """A key of the model as users type it: `schedule.beta_max` for `model.denoiser.schedule.beta_max`."""
    part = key.removeprefix("model.").removeprefix("denoiser.").removeprefix("optimisation.")
    return part if part.partition(".")[0] in TRAINED else MOVED.get(key, key)


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the weights of a stored run, by dotted keys."""
    origins = {
        name: {key: value for key, value in each.items() if key not in RECORDS}
        for name, each in config.get("origins", {}).items()
    }
    return flat({**{key: config[key] for key in (*IDENTITY, "data") if key in config}, "origins": origins})


def words_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were chosen for a stored run, and its other settings, by the keys that users type."""
    choices = {group: option for group, option in config.get("choices", {}).items() if group not in UNSEEN}
    leaves = {typed(key): value for key, value in settings_of(config).items() if key not in (*COPIES, *SEEDS)}
    return choices | {key: value for key, value in leaves.items() if not key.endswith(("_target_", "_partial_"))}


def distinctions(runs: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """For each of some `words_of` runs, at most `SHOWN` words `key:value` that another of them does not have."""
    found, keys = [], dict.fromkeys(key for own in runs for key in own)
    varied = {key for key in keys if len({repr(each.get(key)) for each in runs}) > 1}
    for own in runs:
        differing = [key for key in own if key in varied]
        groups = {key for key in differing if key in TRAINED}  # whose settings differ with them
        settings = [key for key in differing if key in groups or key.partition(".")[0] not in groups]
        found.append([f"{key}:{own[key]}" for key in settings if not key.startswith("origins.")][:SHOWN])
    return found


def fits(words: Sequence[str], config: Mapping[str, Any]) -> bool:
    """Whether a stored run has all of these settings, each as `key:value`; a key may be the end of a longer one."""
    own = words_of(config)
    pairs = [word.partition(":")[::2] for word in words]
    return all(
        any((name == key or name.endswith(f".{key}")) and str(each) == value for name, each in own.items())
        for key, value in pairs
    )


def as_typed(value: Any) -> Any:  # noqa: ANN401  # plain values
    """Plain values with infinities as users type them, "inf" and "-inf", and None for NaN: JSON has no such numbers."""
    if isinstance(value, Mapping):
        return {key: as_typed(each) for key, each in value.items()}
    if isinstance(value, list):
        return [*map(as_typed, value)]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value
