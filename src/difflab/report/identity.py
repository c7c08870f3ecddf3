"""What decides the trained weights of a stored run, seeds apart, by the keys that users type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from difflab.experiment.earlier_words import MOVED
from difflab.report.text import as_text

TRAINED = (  # groups of options
    *("paradigm", "data", "schedule", "target", "weighting", "coupling", "times", "backbone"),
    *("optimizer", "lr_schedule"),
)
COPIES = ("model.batch_size", "data.batch_size")  # of a key that is listed already


def typed(key: str) -> str:
    """A key of the model as users type it: `schedule.beta_max` for `model.denoiser.schedule.beta_max`."""
    part = key.removeprefix("model.").removeprefix("denoiser.").removeprefix("optimisation.")
    return part if part.partition(".")[0] in TRAINED else MOVED.get(key, key)


def typed_identity(seedless: Mapping[str, Any]) -> dict[str, str]:
    """An identity without its seeds by the keys that users type; classes by their bare names."""
    named = {}
    for key, value in seedless.items():
        if key not in COPIES:
            text = str(value).rpartition(":")[2] if key.endswith(".class") else as_text(value)
            named[typed(key).removesuffix(".class").removeprefix("origins.")] = text
    return named
