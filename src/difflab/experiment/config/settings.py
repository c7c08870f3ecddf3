"""The types of the commands' own settings, made from conf/, so that Hydra refuses values of another type."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field, make_dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import MISSING

from difflab.experiment.config.files import Setting, family, options, places, read
from difflab.experiment.parts.ranges import outside, stated
from difflab.experiment.parts.search_path import conf_dir

TYPES: dict[str, Any] = {"int": int, "float": float, "str": str, "bool": bool, "int or str": Any}


def hint(setting: Setting) -> Any:  # noqa: ANN401  # a type hint may be any object
    """The type of a setting: that of its default, else the one with which its comment begins, as `# int: ...`.

    A range may follow it, as `# int in [1, 1e6]: ...`, or stand alone where the default has the type.

    Raises ValueError for a setting with neither.
    """
    default = yaml.safe_load(setting.value)
    if isinstance(default, list) and default:
        return list[type(default[0])]  # type: ignore[misc]  # known only here
    if default not in (None, MISSING, []):
        return type(default)
    name, colon, _ = setting.comment.partition(":")
    name = name.partition(" in ")[0]
    if name not in TYPES or not colon:
        raise ValueError(
            f"conf/: {setting.key}: {setting.value} needs a comment that begins with its type, as `# int: ...`; "
            f"valid: {', '.join(TYPES)}"
        )
    if default == []:
        return list[TYPES[name]]  # type: ignore[valid-type]  # known only here
    return TYPES[name] | None if default is None and TYPES[name] is not Any else TYPES[name]


def is_text(settings: Iterable[Setting]) -> bool:
    """Whether one of some settings is text: by its default, or by its comment."""
    return any(
        setting.comment.startswith("str:")
        or (not setting.value.startswith(("${", MISSING)) and isinstance(yaml.safe_load(setting.value), str))
        for setting in settings
    )


def is_list(settings: Iterable[Setting]) -> bool:
    """Whether one of some settings is a list, by its default."""
    return any(isinstance(yaml.safe_load(setting.value), list) for setting in settings if "${" not in setting.value)


def check_ranges(command: str, config: Mapping[str, Any]) -> None:
    """Raise ValueError for a setting of a command outside of the range that its comment states.

    Those of classes are checked when these are built.
    """
    own = [("", file) for file in family(command)]
    for choice in places(command).values():
        node = select(config, choice.place)
        if isinstance(node, Mapping) and "_target_" not in node:
            own += [(f"{choice.place}.", read(f"{choice.group}/{option}")) for option in options(choice.group)]
    for place, file in own:
        for setting in file.settings:
            key = place + setting.key
            if (allowed := stated(setting.comment)) and (must := outside(select(config, key), [allowed])):
                raise ValueError(f"{key}={select(config, key)} must {must}")


def select(config: Mapping[str, Any], key: str) -> Any:  # noqa: ANN401  # plain values
    """The value of a dotted key; None where there is none."""
    node: Any = config
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def schema(command: str) -> type:
    """The dataclass of what `conf/<command>.yaml` may hold; the values of groups are checked when they are built.

    A setting of several files has the type that the first of them states.
    """
    fields: dict[str, tuple[str, Any, Any]] = {}
    for file in family(command):
        for choice in file.choices:
            if not choice.preset and "." not in choice.place:
                fields.setdefault(choice.place, declared(choice.place, Any, choice.option))
        for setting in file.settings:
            key, dot, _ = setting.key.partition(".")
            fields.setdefault(key, declared(key, Any, "") if dot else declared(key, hint(setting), setting.value))
    return make_dataclass(f"{command}_settings", fields.values())


def declared(key: str, kind: Any, value: str) -> tuple[str, Any, Any]:  # noqa: ANN401  # a type hint may be any object
    """A field: empty where the file has null, else missing, for the file to fill in."""
    return key, kind, field(default=None if value == "null" else MISSING)


def schemas() -> Iterator[tuple[str, type]]:
    """The schemas of all commands, by the names that their files include."""
    for command in sorted(path.stem for path in Path(conf_dir()).glob("*.yaml")):
        if f"{command}_settings" in read(command).includes:
            yield f"{command}_settings", schema(command)
