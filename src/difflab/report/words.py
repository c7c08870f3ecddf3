"""Settings of sampling in the words that users type: protocol cards write objects, as `DDIM(eta=0.5)`."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any

from difflab.metric.card import ProtocolCard

SAMPLED = ("sampler", "grid", "guidance", "range", "weights")  # owners of the factors of sampling


def is_sampled(factor: str) -> bool:
    """Whether a factor is of sampling, as `sampler.eta` is; the others are of the training."""
    return factor.partition(".")[0] in SAMPLED


def sampling_words(card: ProtocolCard, chosen: Mapping[str, Any]) -> dict[str, str]:
    """The settings of an evaluation's sampling by the keys that users type, as `guidance.classifier_free.scale`.

    The options chosen for sampler, grid, guidance and range, then their arguments. `weights` is the word that chooses
    the average of the weights.
    """
    options = {key: chosen.get(key) or "" for key in ("sampler", "grid", "guidance", "range")}
    names = options["guidance"] if isinstance(options["guidance"], list) else [options["guidance"]]
    found = {key: "+".join(option) if isinstance(option, list) else str(option) for key, option in options.items()}
    parts = calls(card.guidance)
    names = [name for name in names if name not in ("", "none")]
    for part, name in zip(parts, [*names, *[""] * len(parts)], strict=False):  # what limits x0 is written last
        found |= arguments(part, f"guidance.{name}" if name else "range")
    for key, text in (("sampler", card.sampler), ("grid", card.grid)):
        for part in calls(text):
            found[key] = found[key] or option_like(part)
            found |= arguments(part, key)
    found |= {"sampler.schedule": "", "weights": card.weights}  # along the schedule that was trained, unless
    for part in calls(card.path):
        found |= {"sampler.schedule": option_like(part), **arguments(part, "sampler.schedule")}
    return found


def calls(text: str) -> list[ast.Call]:
    """The objects that a field of a card lists; none if it lists something else."""
    try:
        parsed = ast.parse(f"[{text}]", mode="eval").body
    except SyntaxError:
        return []
    listed = parsed.elts if isinstance(parsed, ast.List) else []
    inner = [one for each in listed for one in (each.elts if isinstance(each, ast.List) else [each])]
    return [each for each in inner if isinstance(each, ast.Call)]


def arguments(call: ast.Call, prefix: str) -> dict[str, str]:
    """The arguments of an object by dotted keys, those of objects inside it too."""
    found: dict[str, str] = {}
    for keyword in call.keywords:
        key = f"{prefix}.{keyword.arg}"
        if isinstance(keyword.value, ast.Call):
            found |= {key: option_like(keyword.value), **arguments(keyword.value, key)}
        else:
            found[key] = in_words(ast.unparse(keyword.value)).strip("'\"")
    return found


def option_like(call: ast.Call) -> str:
    """The name of an object's class in the form that options have: `dpm_solver_pp` for `DPMSolverPP`."""
    name = ast.unparse(call.func)
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def in_words(text: str) -> str:
    """A field of a card without the form of Python: `ddim eta=0.5` for `DDIM(eta=0.5)`; other text as it stands."""
    listed = calls(text)
    if not listed:
        return text
    return ", ".join(
        " ".join([option_like(each), *(f"{key}={value}" for key, value in short(arguments(each, "")).items())])
        for each in listed
    )


def short(named: Mapping[str, str]) -> dict[str, str]:
    """Keys without the dot in front."""
    return {key.removeprefix("."): value for key, value in named.items()}
