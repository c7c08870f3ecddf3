"""Why a command line makes no sense: which of its words does not exist, and which do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override
from hydra.errors import HydraException
from omegaconf import DictConfig

from difflab.experiment.conf_files import groups as all_groups
from difflab.experiment.config import composition
from difflab.experiment.errors import suggestion


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
            return f"{group}={option} does not exist; {suggestion(option, groups[group])}"
    names = {o.key_or_group for o in given}
    for place in (o.package for o, _ in chosen if o.package):
        if (group := place.partition(".")[0]) not in names and name == "evaluate":
            return f"{place}: {group} is the run's own unless chosen; valid: {', '.join(groups[group])}"
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
            return f"{key}: {path[0]} is the run's own unless chosen; valid: {', '.join(groups[path[0]])}"
        if not isinstance(node, DictConfig):
            return ""
        if part not in node.keys():  # noqa: SIM118  # `in node` is false for a value still to be given
            also = known.hydra.runtime.choices.keys() & groups.keys() - known.keys() if depth == 0 else ()
            valid = [str(k) for k in node if k not in ("_target_", "_partial_", "hydra")] + sorted(map(str, also))
            where = f"{'.'.join(path[:depth])} as chosen" if depth else name
            return f"{part!r} is not a key of {where}; {suggestion(part, valid)}"
        child = node._get_node(part)
        node = None if child is None or child._is_none() else child
    return ""
