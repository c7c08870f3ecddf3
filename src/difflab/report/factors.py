"""What a measurement is of: the options that were chosen, and whatever else differs that they do not explain."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from difflab.experiment.identity import IDENTITY, seedless

if TYPE_CHECKING:
    from difflab.report.evaluation import Evaluation

TRAINED = ("paradigm", "data", "schedule", "target", "weighting", "coupling", "times", "backbone")
SAMPLED = ("sampler", "grid", "path", "guidance", "weights")
TELLING = ("paradigm", "data", "sampler")  # said of a row wherever they vary, even where others imply them
COPIES = ("model.batch_size", "data.batch_size")  # of a key that is listed already
FREE = (*(key for key in IDENTITY if key != "model"), "init", "teacher")  # keys that no option sets


def shown(value: object) -> str:
    """A plain value in a cell of a table."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return value if isinstance(value, str) else json.dumps(value)


def spoken(factors: Mapping[str, str], which: Iterable[str]) -> str:
    """Some factors as a line: `vp_sde heun schedule=vp`."""
    named = [(key, factors[key]) for key in which if factors.get(key)]
    return " ".join(value if key in TELLING else f"{key}={value}" for key, value in named)


def typed(key: str) -> str:
    """A key of the model as users type it: `schedule.beta_max` for `model.denoiser.schedule.beta_max`."""
    part = key.removeprefix("model.").removeprefix("denoiser.")
    return part if part.partition(".")[0] in TRAINED else key


def named(config: Mapping[str, Any]) -> dict[str, str]:
    """What decides a stored run's weights, seeds apart, by the keys that users type; classes by their bare names."""
    found = {}
    for key, value in seedless(config).items():
        if key not in COPIES:
            text = str(value).rpartition(":")[2] if key.endswith(".class") else shown(value)
            found[typed(key).removesuffix(".class").removeprefix("origins.")] = text
    return found


def factors(evaluations: Sequence[Evaluation]) -> list[dict[str, str]]:
    """The factors of each evaluation, the same names in the same order for all: an empty word where one has no say."""
    chosen = [{key: shown(e.config["choices"].get(key) or "") for key in TRAINED} for e in evaluations]
    keys = sorted({key for e in evaluations for key in e.identity})
    details = [key for key in keys if not explained(key, evaluations, chosen)]
    sampled = [sampling(evaluations, key) for key in SAMPLED]
    return [
        {**options, **{key: e.identity.get(key, "") for key in details}, **dict(zip(SAMPLED, settings, strict=True))}
        for e, options, settings in zip(evaluations, chosen, zip(*sampled, strict=True), strict=True)
    ]


def sampling(evaluations: Sequence[Evaluation], key: str) -> list[str]:
    """A setting of sampling by its option's name, or as the card says where one name stands for several settings."""
    settings = [str(getattr(e.card, key)) for e in evaluations]
    options = [e.choices.get(key) or setting for e, setting in zip(evaluations, settings, strict=True)]
    names = ["+".join(option) if isinstance(option, list) else str(option) for option in options]
    ambiguous = len(set(zip(names, settings, strict=True))) > len(set(names))
    return settings if ambiguous else names


def explained(key: str, evaluations: Sequence[Evaluation], chosen: Sequence[Mapping[str, str]]) -> bool:
    """Whether the options that a key may come from leave its value no choice."""
    owner = key.partition(".")[0]
    owners = () if owner in FREE else [name for name in TRAINED if name in ("paradigm", "data", owner)]
    found = {(tuple(c[o] for o in owners), e.identity.get(key, "")) for e, c in zip(evaluations, chosen, strict=True)}
    return len(found) == len({options for options, _ in found})
