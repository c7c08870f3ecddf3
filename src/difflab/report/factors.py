"""The factors of a study: the options that were chosen, and all other differences that these do not explain."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from difflab.experiment.parts.identity import IDENTITY, LATER
from difflab.experiment.store.typed import TRAINED
from difflab.report.record import Record
from difflab.report.text import as_text
from difflab.report.words import SAMPLED, sampling_words

ALWAYS_NAMED = ("paradigm", "data", "sampler")  # part of a label wherever they vary, even where others imply them
FREE = (
    *(key for key in IDENTITY if key != "model"),
    *LATER,
    "init",
    "teacher",
    "first_stage",
)  # keys that no option sets


def factor_label(factors: Mapping[str, str], keys: Iterable[str]) -> str:
    """Some factors as they are typed: `paradigm=vp_sde sampler=heun`."""
    named = [(key, factors[key]) for key in keys if factors.get(key)]
    return " ".join(value if key == "weights" else f"{key}={value}" for key, value in named)  # as ema=0.999


def factors_of(records: Sequence[Record]) -> list[dict[str, str]]:
    """The factors of each record: the same names in the same order for all, empty where a record has no such key."""
    chosen = [{key: as_text(r.config["choices"].get(key) or "") for key in TRAINED} for r in records]
    trained, sampled = [r.identity for r in records], [sampling_words(r.card, r.choices) for r in records]
    return [
        {**options, **details, **settings}
        for options, details, settings in zip(
            chosen,
            unexplained(trained, chosen, owners_of_training),
            unexplained(sampled, sampled, owners_of_sampling, SAMPLED),
            strict=True,
        )
    ]


def owners_of_training(key: str) -> list[str]:
    """The options that may determine a key of the identity."""
    owner = key.partition(".")[0]
    return [] if owner in FREE else [name for name in TRAINED if name in ("paradigm", "data", owner)]


def owners_of_sampling(key: str) -> list[str]:
    """The option that may determine a setting of sampling; none of `sampler.schedule`, which is one itself."""
    if key.startswith("sampler.schedule"):
        return [] if key == "sampler.schedule" else ["sampler.schedule"]
    return [key.partition(".")[0]]


def unexplained(
    settings: Sequence[Mapping[str, str]],
    chosen: Sequence[Mapping[str, str]],
    owners: Callable[[str], list[str]],
    always: Sequence[str] = (),
) -> list[dict[str, str]]:
    """The settings that the chosen options do not determine, and those that are always kept, which come first."""
    keys = [*always, *sorted({key for each in settings for key in each} - set(always))]
    kept = [key for key in keys if key in always or not explained(key, settings, chosen, owners(key))]
    return [{key: each.get(key, "") for key in kept} for each in settings]


def explained(
    key: str, settings: Sequence[Mapping[str, str]], chosen: Sequence[Mapping[str, str]], owners: Sequence[str]
) -> bool:
    """Whether the options of the owners determine the value of a setting."""
    pairs = {(tuple(c[o] for o in owners), each.get(key, "")) for each, c in zip(settings, chosen, strict=True)}
    return len(pairs) == len({options for options, _ in pairs})
