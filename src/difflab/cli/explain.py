"""Why a command line makes no sense: which of its words does not exist, and which do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from difflab.experiment.config.compose import composition
from difflab.experiment.config.files import groups as all_groups
from difflab.experiment.parts.earlier_words import elsewhere, no_option
from difflab.experiment.parts.errors import suggestion

OPEN = ("hydra", "callbacks", "logger")  # whose keys are names that a user gives, or Hydra's


def explanation(name: str, overrides: Sequence[str]) -> str:
    """Which group, option or key of a refused command line does not exist, and which do; empty if all exist."""
    groups = all_groups()
    try:
        parsed = OverridesParser.create().parse_overrides([word for word in overrides if not word.startswith("-")])
    except HydraException:
        return ""
    given = [o for o in parsed if not (o.is_add() or o.is_delete())]
    chosen = [(o, option) for o in given if o.key_or_group in groups for option in options(o)]
    for override, option in chosen:
        group = override.key_or_group
        if option not in groups[group]:
            return no_option(group, option, groups[group])
    names = {o.key_or_group for o in given}
    for place in (o.package for o, _ in chosen if o.package):
        if (group := place.partition(".")[0]) not in names and name == "evaluate":
            return not_chosen(place, group, groups[group])
    try:
        known = composition(name, [str(o.input_line) for o, _ in chosen if not o.is_sweep_override()])
    except HydraException:
        return ""
    keys = [
        o.key_or_group
        for o in given
        if o.key_or_group not in groups and not o.key_or_group.startswith(("hydra.", "hydra/"))
    ]
    return next(filter(None, (unknown_part(name, key, known, groups) for key in keys)), "")


def not_chosen(key: str, group: str, valid: Sequence[str]) -> str:
    """That a key is of a group whose option is the run's own, in which nothing can be set."""
    return f"{key} changes an option of {group}, which is the run's own: choose {group}= too, of {', '.join(valid)}"


def options(override: Override) -> list[str]:
    """The options of a group that an override chooses, one after the other or as a list."""
    value = override.value()
    each = value.list if isinstance(value, ChoiceSweep) else [value]
    return [str(option) for item in each for option in (item if isinstance(item, list) else [item]) if option]


def unknown_part(name: str, key: str, known: DictConfig, groups: Mapping[str, Sequence[str]]) -> str:
    """Which part of a dotted key a composed configuration does not have; empty if it has them all."""
    node: Any = known
    path = key.split(".")
    for depth, part in enumerate(path):
        if node is None and path[0] in groups:
            return not_chosen(key, path[0], groups[path[0]])
        if not isinstance(node, DictConfig):
            return ""
        if part not in node.keys():  # noqa: SIM118  # `in node` is false for a value still to be given
            also = known.hydra.runtime.choices.keys() & groups.keys() - known.keys() if depth == 0 else ()
            valid = [str(k) for k in node if k not in ("_target_", "_partial_", "hydra")] + sorted(map(str, also))
            where = f"{'.'.join(path[:depth])} as chosen" if depth else name
            other = elsewhere(part) if depth else instead(part, known)
            return f"{part!r} is not a key of {where}; {other}{suggestion(part, valid)}"
        child = node._get_node(part)
        node = None if child is None or child._is_none() else child
    return ""


def instead(key: str, known: DictConfig) -> str:
    """The words that do what a bare key asks for: settings of the parts by that name, or of other programs."""
    if other := elsewhere(key):
        return other
    inner = [path for path in paths(OmegaConf.to_container(known)) if path.endswith(f".{key}")]
    own = [path for path in inner if not path.startswith(("model.", "hydra.", "teacher."))]
    return f"here it is {' or '.join(own)}; " if own else ""


def paths(node: object, above: str = "") -> Iterator[str]:
    """The dotted keys of the values in nested plain dicts."""
    if isinstance(node, dict):
        for key, child in node.items():
            yield from paths(child, f"{above}.{key}".lstrip("."))
    else:
        yield above


def unread(name: str, overrides: Sequence[str]) -> str:
    """Which word adds a key that nothing reads, as `+sed=1`; empty if all are read.

    What is added to a class is held against its arguments when it is built.
    """
    added = [o for o in OverridesParser.create().parse_overrides([*overrides]) if o.is_add()]
    groups = all_groups()
    keys = [o.key_or_group for o in added if o.key_or_group not in groups and o.package is None]
    keys = [key for key in keys if key.partition(".")[0] not in OPEN]
    if not keys:
        return ""
    rest = [word for word in overrides if not word.startswith("+") or word.lstrip("+").partition("=")[0] not in keys]
    known = composition(name, [word for word in rest if not sweeps(word)])
    return next(filter(None, (unknown_part(name, key, known, groups) for key in keys if not of_class(key, known))), "")


def of_class(key: str, known: DictConfig) -> bool:
    """Whether a dotted key would be an argument of a class, or stands inside one."""
    node: Any = known
    for part in key.split(".")[:-1]:
        node = node._get_node(part) if isinstance(node, DictConfig) else None
        if node is None or not isinstance(node, DictConfig) or "_target_" in node:
            return True
    return False


def sweeps(word: str) -> bool:
    """Whether an override gives several values, as A=1,2."""
    return OverridesParser.create().parse_override(word).is_sweep_override()
