"""The factors of a study: the options that were chosen, and all other differences that these do not explain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from difflab.experiment.identity import IDENTITY, LATER
from difflab.report.identity import TRAINED
from difflab.report.record import Record
from difflab.report.text import as_text

SAMPLED = ("sampler", "grid", "path", "guidance", "weights")  # factors of sampling; the others are of the training
ALWAYS_NAMED = ("paradigm", "data", "sampler")  # part of a label wherever they vary, even where others imply them
FREE = (*(key for key in IDENTITY if key != "model"), *LATER, "init", "teacher")  # keys that no option sets


def factor_label(factors: Mapping[str, str], keys: Iterable[str]) -> str:
    """Some factors as a label: `vp_sde heun schedule=vp`."""
    named = [(key, factors[key]) for key in keys if factors.get(key)]
    return " ".join(value if key in ALWAYS_NAMED else f"{key}={value}" for key, value in named)


def factors_of(records: Sequence[Record]) -> list[dict[str, str]]:
    """The factors of each record: the same names in the same order for all, empty where a record has no such key."""
    chosen = [{key: as_text(r.config["choices"].get(key) or "") for key in TRAINED} for r in records]
    keys = sorted({key for r in records for key in r.identity})
    details = [key for key in keys if not explained(key, records, chosen)]
    sampled = [sampling_factor(records, key) for key in SAMPLED]
    return [
        {**options, **{key: r.identity.get(key, "") for key in details}, **dict(zip(SAMPLED, settings, strict=True))}
        for r, options, settings in zip(records, chosen, zip(*sampled, strict=True), strict=True)
    ]


def sampling_factor(records: Sequence[Record], key: str) -> list[str]:
    """A setting of sampling by its option's name; as the card writes it where one name stands for several settings."""
    settings = [str(getattr(r.card, key)) for r in records]
    options = [r.choices.get(key) or setting for r, setting in zip(records, settings, strict=True)]
    names = ["+".join(option) if isinstance(option, list) else str(option) for option in options]
    ambiguous = len(set(zip(names, settings, strict=True))) > len(set(names))
    return settings if ambiguous else names


def explained(key: str, records: Sequence[Record], chosen: Sequence[Mapping[str, str]]) -> bool:
    """Whether the chosen options determine the value of a key of the identity."""
    owner = key.partition(".")[0]
    owners = () if owner in FREE else [name for name in TRAINED if name in ("paradigm", "data", owner)]
    pairs = {(tuple(c[o] for o in owners), r.identity.get(key, "")) for r, c in zip(records, chosen, strict=True)}
    return len(pairs) == len({options for options, _ in pairs})
