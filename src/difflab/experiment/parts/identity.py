"""What a thing is, whichever file defines its class and wherever its data lie.

One function, `identity`, serves the fingerprint of a run, the protocol card and the report. It writes a class as
`group:Class`, the group being the folder of difflab that exports it, with all of its arguments, those at their defaults
too. So code may be moved, and defaults may be changed, without a trained run losing its name.

A class says what of it is no part of its identity:

- `as_before: ClassVar[Mapping[str, object]]`: for an argument that was added later, the value that means what the class
  did before. That value, and only it, is left out, for ever.
- `inline: ClassVar[Mapping[str, type]]`: for an argument that was cut out of the class later, the class that does what
  this one did itself before. The arguments of that class stand among those of this one, as they did.
- `outside_identity: ClassVar[Sequence[str]]`: arguments that change no result, or whose content enters in another way.
- `paths: ClassVar[Sequence[str]]`: arguments that name files or folders. What lies there enters by its content.
- `identity`: a property that states it as plain values instead, as weights do by their sha256.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import shlex
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from difflab.experiment.parts.build import build, target
from difflab.experiment.parts.ranges import bare
from difflab.experiment.parts.search_path import by_package
from difflab.metric.card import digest

IDENTITY = ("model", "seed", "images", "batch_size", "precision", "ema")  # of a configuration: what decides the weights
LATER = {"snapshots": 0}  # settings of a later difflab that decide the weights, too; the value that means "as before"
LAST, BEST = "last", "best"  # weights that a run may keep
RECIPE = ("sampler", "grid", "guidance", "range", "nfe")  # what says how samples are drawn
SEEDS = ("seed", "model.seed", "data.seed")  # by which repetitions of one training differ
REPEATED = (
    "run",
    "seeds",
    "seed",
    "sha256",
    "weights",
    "training",
)  # of an origin: what differs between its repetitions
VARIED = (  # settings whose words enter the names of new runs
    *("schedule", "target", "times", "weighting", "coupling", "draws", "backbone", "book", "denoiser", "encoder"),
    *("layers", "optimizer", "lr", "lr_schedule", "model", "batch_size", "ema", "residual", "drive", "steps"),
    *("distance", "adversary", "discriminator", "reconstruction", "perceptual", "precision"),
)
NUMBERS = ("lr", "batch_size", "ema")  # of them, those whose values mean nothing without their key
WORDS, LONGEST = 3, 20  # of these words in a name, and characters of each
SOURCE = "source_sha256"  # of a class of an extension: the sha256 of its package's source
RECORDS = ("run", "kind", "seeds", "training", "held_out")  # of an origin: kept beside it; no part of the identity


def identity(value: object) -> Any:  # noqa: ANN401  # plain values
    """The plain value that stands for a configuration's node, or for an object built from one.

    A class is `{"class": "group:Class", argument: value, ..}`. Raises ValueError for a node that names a foreign class.
    """
    if isinstance(value, Mapping):
        if "_target_" not in value:
            return {str(key): identity(each) for key, each in value.items()}
        cls = target(value["_target_"])
        if hasattr(cls, "identity"):
            return build(value).identity
        return described(cls, {key: each for key, each in value.items() if key != "_target_"})
    if isinstance(value, type):  # left to be called, as the node of a class with `_partial_`
        return described(value, {})
    if hasattr(value, "identity"):
        return value.identity
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return described(type(value), {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init})
    if isinstance(value, Path):
        return str(value)
    return [identity(each) for each in value] if isinstance(value, list | tuple) else value


def described(cls: type, given: Mapping[str, object]) -> dict[str, Any]:
    """A class with the arguments that it was given, and the defaults of the others."""
    found: dict[str, Any] = {"class": name_of(cls)}
    if extension := by_package(cls.__module__.partition(".")[0]):
        found[SOURCE] = extension.sha256
    outside = {*getattr(cls, "outside_identity", ()), *getattr(cls, "paths", ())}
    before, inline = getattr(cls, "as_before", {}), getattr(cls, "inline", {})
    defaults = {f.name: f.default_factory() for f in fields(cls) if f.default_factory is not dataclasses.MISSING}
    for name, parameter in inspect.signature(cls, eval_str=True).parameters.items():
        if name in outside or (name not in given and name not in defaults and parameter.default is parameter.empty):
            continue
        value = given.get(name, defaults.get(name, parameter.default))
        plain = identity(widened(value, parameter.annotation))
        if name in inline and plain["class"] == name_of(inline[name]):
            found |= {key: each for key, each in plain.items() if key != "class"}
        elif not (name in before and plain == identity(before[name])):
            found[name] = plain
    return found


def fields(cls: type) -> Sequence[dataclasses.Field[Any]]:
    """The fields of a dataclass; of another class none."""
    return dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()


def name_of(cls: type) -> str:
    """`group:Class`: the folder of difflab that exports it, or else the package that it comes from."""
    package, *inner = cls.__module__.split(".")
    return f"{inner[0] if package == 'difflab' else package}:{cls.__name__}"


def widened(value: object, hint: object) -> object:
    """A whole number as a float where the hint takes floats only, so that 2 and 2.0 are one value; lists likewise."""
    hint = bare(hint)
    origin, args = get_origin(hint), get_args(hint)
    if isinstance(value, list | tuple) and args and origin not in (Union, types.UnionType):
        inner = [args[0]] * len(value) if len(args) == 1 or args[-1] is Ellipsis else args
        return [widened(each, part) for each, part in zip(value, inner, strict=False)]
    if origin in (Union, types.UnionType):
        return (
            value
            if int in map(bare, args)
            else widened(value, next((arg for arg in args if arg is not type(None)), None))
        )
    return float(value) if hint is float and type(value) is int else value


def line(value: object) -> str:
    """An identity in one line, as cards and tables have it: `DDIM(eta=0.0)`."""
    plain = identity(value)
    if isinstance(plain, dict):
        own = {key: each for key, each in plain.items() if key not in ("class", SOURCE)}
        arguments = ", ".join(f"{key}={line(each)}" for key, each in own.items())
        return f"{str(plain.get('class', '')).rpartition(':')[2]}({arguments})"
    return f"[{', '.join(map(line, plain))}]" if isinstance(plain, list) else repr(plain)


def decisive(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a configuration decides the trained weights."""
    later = {key: config[key] for key, before in LATER.items() if config.get(key, before) != before}
    if config.get("keep") == BEST:  # by samples that are drawn and compared at each check
        protocol = {key: identity(config["protocol"][key]) for key in ("extractor", "seed")}
        checks = {"of": config["data"]["selection"], "check_every": config["check_every"], **protocol}
        later["keep"] = {**checks, **{key: identity(config[key]) for key in RECIPE}}
    return {key: identity(config[key]) for key in (*IDENTITY, "data")} | later


def content(config: Mapping[str, Any], origins: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """All that decides the trained weights, as plain values.

    The configuration, the version of the noise law, and the `origins` by their content: under `data` the `sha256` of
    the labelled training samples, under `init` and `teacher` that of the weights and what else decides their effect.
    """
    from difflab.process.noise import VERSION as NOISE  # loads torch, which a report does without

    found = {name: {k: v for k, v in each.items() if k not in RECORDS} for name, each in origins.items()}
    return {**decisive(config), "origins": found, "noise": NOISE}


def fingerprint(config: Mapping[str, Any], origins: Mapping[str, Mapping[str, Any]]) -> str:
    """The name of a run: the digest of its `content`, 16 hex digits."""
    return digest(content(config, origins))


def seedless(config: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the weights of a stored run, by dotted keys, without its seeds: repetitions have it in common.

    Repetitions agree in all of the origins but the weights, and the seed of the pairs.
    """
    origins = {
        name: {k: v for k, v in each.items() if k not in REPEATED} if "kind" in each else each.get("sha256", "")
        for name, each in config.get("origins", {}).items()
    }
    leaves = flat({**decisive(config), "origins": origins, "extensions": sources_of(config)})
    return {key: value for key, value in leaves.items() if key not in SEEDS and not key.endswith(f".{SOURCE}")}


def packages(node: object) -> set[str]:
    """The top-level packages of the classes that plain values name."""
    if isinstance(node, list):
        return set().union(*map(packages, node))
    if not isinstance(node, Mapping):
        return set()
    own = {str(node["_target_"]).partition(".")[0]} if "_target_" in node else set()
    return own.union(*map(packages, node.values()))


def sources(node: object) -> dict[str, str]:
    """The sha256 of the source of each extension whose classes plain values name, by package."""
    on = {package: by_package(package) for package in sorted(packages(node))}
    return {package: extension.sha256 for package, extension in on.items() if extension}


def sources_of(config: Mapping[str, Any]) -> dict[str, str]:
    """The same of a stored configuration, as they were when it was stored."""
    stored = config.get("extensions")
    return dict(stored) if isinstance(stored, Mapping) else {}


def seeds(config: Mapping[str, Any]) -> tuple[int, ...]:
    """The seeds of a stored run, of the one whose weights it started from, and of its teacher if that is another."""
    values, origins = flat(config), config.get("origins", {})
    others = {each["sha256"]: tuple(each["seeds"]) for each in origins.values() if "seeds" in each}
    return tuple(int(values.get(key, config["seed"])) for key in SEEDS) + sum(others.values(), ())


def record(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What a run keeps of another that it was made from, beside its content: its `run`, `kind` and `seeds`."""
    choices = config.get("choices", {})
    label = "-".join(str(choices[group]) for group in ("paradigm", "data") if group in choices)
    return {"run": name, "kind": f"{label}-{digest(seedless(config))[:8]}", "seeds": list(seeds(config))}


def flat(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of nested mappings by dotted keys."""
    leaves: dict[str, Any] = {}
    for key, value in node.items():
        leaves |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return leaves


def label(config: Mapping[str, Any]) -> str:
    """The readable part of a new run's name: its `stem`, and the first words of the command that vary it."""
    return "-".join([stem(config), *varied(config)])


def stem(config: Mapping[str, Any]) -> str:
    """The first part of a new run's name: paradigm, data and seed, however the command words the rest."""
    choices = config.get("choices", {})
    words = [str(choices[group]) for group in ("paradigm", "data") if group in choices]
    taught = ["reflow"] if (config.get("teacher") or {}).get("run") and not config.get("residual") else []
    latent = ["latent"] if (config.get("first_stage") or {}).get("run") else []
    return "-".join([*taught, *latent, *words, f"s{config['seed']}"])


def varied(config: Mapping[str, Any]) -> list[str]:
    """The first words of a run's command that change its weights, each as a part of a name: `vp`, `width32`.

    Those of schedule and target come first, in any order of the words.
    """
    found = []
    for word in shlex.split(config.get("command") or ""):
        key, equals, value = word.partition("=")
        group = key.lstrip("+").partition(".")[0]
        if equals and group in VARIED:
            part = f"{key.rpartition('.')[2] * ('.' in key or key in NUMBERS)}{value}"
            found.append((VARIED.index(group), key, re.sub(r"[^\w.]+", "_", part).strip("_")[:LONGEST]))
    return list(dict.fromkeys(part for _, _, part in sorted(found) if part))[:WORDS]
