"""What decides the trained weights of a stored run, seeds apart, by the keys that users type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from difflab.experiment.store.typed import COPIES, typed
from difflab.report.text import as_text


def typed_identity(seedless: Mapping[str, Any]) -> dict[str, str]:
    """An identity without its seeds by the keys that users type; classes by their bare names."""
    named = {}
    for key, value in seedless.items():
        if key not in COPIES:
            text = str(value).rpartition(":")[2] if key.endswith(".class") else as_text(value)
            named[typed(key).removesuffix(".class").removeprefix("origins.")] = text
    return named
