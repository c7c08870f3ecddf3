"""The files of conf/ with their comments: the one source of the settings' defaults, of their types and of the help."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from pathlib import Path

import yaml

from difflab.experiment.parts.search_path import conf_dir, outside
from difflab.experiment.store.stored import Loader


def folders() -> tuple[Path, ...]:
    """The folders of options, in the order in which they are searched."""
    return (Path(conf_dir()), *(folder for _, folder in outside().search))


@dataclass(frozen=True)
class Setting:
    """A line `key: value   # comment`, its key dotted from the root of the file; no comment is an empty one."""

    key: str
    value: str
    comment: str


@dataclass(frozen=True)
class Choice:
    """A line `- group@place: option   # comment` of a defaults list; presets stand after `_self_` and have no place."""

    group: str
    place: str
    option: str
    comment: str
    preset: bool

    @property
    def word(self) -> str:
        """The key by which Hydra chooses an option."""
        return self.group if self.place == self.group else f"{self.group}@{self.place}"


@dataclass(frozen=True)
class ConfigFile:
    """A file: its leading comment, its `@package` (empty: the root), and what it lists but for overrides of groups."""

    about: str
    package: str | None
    includes: tuple[str, ...]
    choices: tuple[Choice, ...]
    settings: tuple[Setting, ...]


def read(name: str) -> ConfigFile:
    """A file by its name in the folders, without the suffix, as `train` or `sampler/ddim`."""
    return parsed(path_of(name))


def is_file(name: str) -> bool:
    """Whether a folder has a file of that name; Hydra's own files are none."""
    return any((folder / f"{name}.yaml").is_file() for folder in folders())


def path_of(name: str) -> Path:
    """The first file of that name. Raises FileNotFoundError if no folder has one."""
    paths = [folder / f"{name}.yaml" for folder in folders()]
    for path in paths:
        if path.is_file():
            return path
    raise FileNotFoundError(f"none of these is a file: {', '.join(map(str, paths))}")


@cache
def parsed(path: Path) -> ConfigFile:
    """A file by its path, parsed once in a process."""
    text = path.read_text()
    lines = text.splitlines()
    head = [line.lstrip("# ") for line in takewhile(lambda line: line.startswith("#"), lines)]
    package = head.pop(0).split()[1] if head and head[0].startswith("@package") else None
    root = yaml.compose(text, Loader)
    top = {key.value: node for key, node in root.value} if root else {}
    defaults = list(entries(top.pop("defaults", None), lines))
    files = [entry for entry in defaults if isinstance(entry, str)]
    choices = [entry for entry in defaults if isinstance(entry, Choice)]
    settings = (setting for key, node in top.items() if key != "hydra" for setting in leaves(key, node, text, lines))
    return ConfigFile(" ".join(head), "" if package == "_global_" else package, (*files,), (*choices,), (*settings,))


def entries(defaults: yaml.SequenceNode | None, lines: list[str]) -> Iterator[str | Choice]:
    """A defaults list: the files that it includes, and the groups."""
    preset = False
    for item in defaults.value if defaults else ():
        if isinstance(item, yaml.ScalarNode):
            preset |= item.value == "_self_"
            if item.value != "_self_":
                yield item.value.partition("@")[0]
        elif not item.value[0][0].value.startswith("override "):
            ((key, option),) = item.value
            group, _, place = key.value.removeprefix("/").partition("@")
            yield Choice(group, place or group, option.value, comment(option, lines), preset)


def leaves(key: str, node: yaml.Node, text: str, lines: list[str]) -> Iterator[Setting]:
    """The values of a node, other than the classes that it names."""
    if isinstance(node, yaml.MappingNode):
        for child, value in node.value:
            yield from leaves(f"{key}.{child.value}", value, text, lines)
    elif key.rpartition(".")[2] not in ("_target_", "_partial_"):
        yield Setting(key, text[node.start_mark.index : node.end_mark.index], comment(node, lines))


def comment(node: yaml.Node, lines: list[str]) -> str:
    """What stands behind a value on its line."""
    rest = lines[node.end_mark.line][node.end_mark.column :].strip()
    return rest.lstrip("# ") if rest.startswith("#") else ""


def family(name: str) -> Iterator[ConfigFile]:
    """A command's file, after the files that it includes; its schema is no file."""
    file = read(name)
    for other in file.includes:
        if other != f"{name}_settings":
            yield from family(other)
    yield file


def places(command: str) -> dict[str, Choice]:
    """The groups of a command by where their options stand; a group inside the options of another comes after it."""
    return places_among(command, folders())


@cache
def places_among(command: str, searched: tuple[Path, ...]) -> dict[str, Choice]:
    """The same, once for the folders that are searched."""
    every = (each for file in family(command) for choice in file.choices for each in (choice, *inside(choice)))
    return {choice.place: choice for choice in every}


def inside(outer: Choice) -> tuple[Choice, ...]:
    """The groups that the options of a group have, as protocol.extractor."""
    return inside_among(outer, folders())


@cache
def inside_among(outer: Choice, searched: tuple[Path, ...]) -> tuple[Choice, ...]:
    """The same, once for the folders that are searched."""
    found = {}
    for option in options(outer.group):
        if "@" in path_of(f"{outer.group}/{option}").read_text():
            for choice in read(f"{outer.group}/{option}").choices:
                place = f"{outer.place}.{choice.place}"
                found[place] = Choice(choice.group, place, choice.option, choice.comment, outer.preset)
    return (*found.values(),)


def options(group: str) -> list[str]:
    """The options of a group."""
    return sorted({path.stem for folder in folders() for path in (folder / group).glob("*.yaml")})


def is_group(name: str) -> bool:
    """Whether a folder has options of that group."""
    return name.isidentifier() and any(next((folder / name).glob("*.yaml"), None) for folder in folders())


def groups() -> dict[str, list[str]]:
    """The configuration groups with their options."""
    names = {path.name for folder in folders() for path in folder.iterdir() if path.is_dir()}
    return {name: found for name in sorted(names) if (found := options(name))}


def own_settings(command: str, key: str) -> Iterator[Setting]:
    """What the own files of a command say of a key."""
    for file in family(command):
        yield from (setting for setting in file.settings if setting.key == key)


def own_keys(command: str) -> set[str]:
    """The dotted keys of the settings in the own files of a command."""
    return {setting.key for file in family(command) for setting in file.settings}


def settings_at(command: str, key: str) -> Iterator[Setting]:
    """What the files of a command say of a dotted key: its own files, or each option of the group that has it."""
    yield from own_settings(command, key)
    for choice in places(command).values():
        if key.startswith(f"{choice.place}."):
            files = (read(f"{choice.group}/{option}") for option in options(choice.group))
            inner = key.removeprefix(f"{choice.place}.")
            yield from (setting for file in files for setting in file.settings if setting.key == inner)
