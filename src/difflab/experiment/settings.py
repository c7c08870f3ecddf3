"""The types of the commands' own settings, made from conf/, so that Hydra refuses values of another type."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import field, make_dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import MISSING

from difflab.experiment.conf_files import Setting, family, read
from difflab.experiment.search_path import conf_dir

TYPES = {"int": int, "float": float, "str": str, "bool": bool}


def hint(setting: Setting) -> Any:  # noqa: ANN401  # a type hint may be any object
    """The type of a setting: that of its default, else the one with which its comment begins, as `# int: ...`.

    Raises ValueError for a setting with neither.
    """
    default = yaml.safe_load(setting.value)
    if isinstance(default, list) and default:
        return list[type(default[0])]  # type: ignore[misc]  # known only here
    if default not in (None, MISSING, []):
        return type(default)
    name, colon, _ = setting.comment.partition(":")
    if name not in TYPES or not colon:
        raise ValueError(
            f"conf/: {setting.key}: {setting.value} needs a comment that begins with its type, as `# int: ...`; "
            f"valid: {', '.join(TYPES)}"
        )
    if default == []:
        return list[TYPES[name]]  # type: ignore[valid-type]  # known only here
    return TYPES[name] | None if default is None else TYPES[name]


def is_text(settings: Iterable[Setting]) -> bool:
    """Whether one of some settings is text: by its default, or by its comment."""
    return any(
        setting.comment.startswith("str:")
        or (not setting.value.startswith(("${", MISSING)) and isinstance(yaml.safe_load(setting.value), str))
        for setting in settings
    )


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
