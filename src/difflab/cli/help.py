"""What `--help` prints, made from conf/: the comments of its files, and the values that Hydra composes from them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import yaml
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from difflab.cli.explain import sweeps
from difflab.experiment.config.compose import composition, loader
from difflab.experiment.config.files import Choice, ConfigFile, is_file, options, places, read

WIDTH, COLUMN = 120, 40  # characters of a line, and before the text of a table at most
OPENED = {"sample": "task", "evaluate": "protocol"}  # the group whose options the help of a command lists one by one
FLAGS = {
    "-m, --multirun": "run every combination of KEY=A,B,C; with hydra/launcher=joblib side by side",
    "--cfg job": "print the configuration, and do nothing",
    "--info": "print how Hydra composes it: the files, and where they were searched",
    "--config-dir DIR": "search DIR for options, too",
    "-sc install=bash": 'complete words with the tab key: eval "$(difflab-{} -sc install=bash)"',
    "--hydra-help": "all flags of Hydra",
    "-h, --help": "this text, for the options chosen beside it; --help GROUP describes the options of a group",
}


@dataclass(frozen=True)
class Composed:
    """What Hydra makes of a command's words: the configuration, the chosen options, and the files read."""

    config: DictConfig
    choices: Mapping[str, object]
    files: Sequence[tuple[str, ConfigFile]]  # each with the place of its keys

    @classmethod
    def of(cls, command: str, words: Sequence[str]) -> Composed:
        """Compose words without sweeps. Raises HydraException for words that make no sense."""
        config = composition(command, words)
        loaded = loader().compute_defaults_list(command, [*words], RunMode.RUN)
        own = [d for d in loaded.defaults if is_file(str(d.config_path))]
        files = [(d.package or "", read(str(d.config_path))) for d in own]
        return cls(config, config.hydra.runtime.choices, files)

    def comments(self) -> dict[str, str]:
        """The comment of each key; that of the last file that has one counts."""
        found: dict[str, str] = {}
        for place, file in self.files:
            for setting in file.settings:
                key = f"{place}.{setting.key}".lstrip(".")
                found[key] = setting.comment or found.get(key, "")
        return found

    def value(self, key: str) -> str:
        """A value as it is typed."""
        try:
            value = OmegaConf.select(self.config, key, throw_on_missing=True)
        except OmegaConfBaseException:  # a value that has to be given, or that depends on one
            return "???"
        return typed(OmegaConf.to_container(value) if OmegaConf.is_config(value) else value)

    def chosen(self, choice: Choice) -> str:
        """The option of a group, as it is typed."""
        option = self.choices.get(choice.word)
        return typed(OmegaConf.to_container(option) if OmegaConf.is_config(option) else option)


def typed(value: object) -> str:
    """A value as it is typed on the command line."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int():
            return f"{value:_}" if abs(value) >= 10_000 else str(value)
        case list():
            return f"[{','.join(map(typed, value))}]"
    return str(value)


def text(command: str, words: Sequence[str] = ()) -> str:
    """The help of a command, with the values that the words beside `--help` give; of a group, if a word names one.

    Flags and sweeps among the words are left out. Raises HydraException for words that do not compose.
    """
    groups = places(command)
    if named := [groups[word] for word in words if word in groups]:
        return "\n\n".join(page(choice) for choice in named)
    composed = Composed.of(command, [word for word in hydras(words, groups) if not sweeps(word)])
    own, inner = [], []
    for key, comment in composed.comments().items():
        row = (f"  {key}={composed.value(key)}", comment)
        if "." not in key:
            own.append(row)
        elif comment:
            inner.append(row)
    sections = {
        "Groups, as GROUP=OPTION:": [(f"  {k}={composed.chosen(each)}", listed(each)) for k, each in groups.items()],
        "Settings, as KEY=VALUE; ??? has to be given:": own,
        "Settings of the parts, with the options above:": inner,
        "Flags, anywhere on the line:": [(f"  {flag}", what.format(command)) for flag, what in FLAGS.items()],
    }
    usage = f"difflab-{command} [GROUP=OPTION ...] [KEY=VALUE ...] [FLAG ...]"
    about = textwrap.fill(read(command).about, WIDTH)
    tables = [f"{title}\n\n{table(rows)}" for title, rows in sections.items() if rows]
    opened = [page(groups[OPENED[command]])] if command in OPENED else []
    return "\n\n".join([usage, about, *tables[:-1], *opened, tables[-1]])


def hydras(words: Sequence[str], groups: Mapping[str, Choice]) -> Iterator[str]:
    """The overrides among words, in Hydra's spelling: `extractor@protocol.extractor=OPTION`."""
    for word in words:
        key, equals, value = word.partition("=")
        if equals and not word.startswith("-"):
            yield f"{groups[key].word if key in groups else key}={value}"


def listed(choice: Choice) -> str:
    """What a group is for, and its options below."""
    return "\n".join(filter(None, (choice.comment, ", ".join(options(choice.group)))))


def page(choice: Choice) -> str:
    """The options of a group, each with what it is and its settings; those that options share come last."""
    files = {option: read(f"{choice.group}/{option}") for option in options(choice.group)}
    rows = []
    for option, file in files.items():
        rows += [("", ""), (f"  {choice.place}={option}", file.about), *settings_of(choice, file)]
    shared = {base.about: base for file in files.values() for base in bases(choice.group, file)}
    for about, base in shared.items():
        if inside := settings_of(choice, base):
            rows += [("", ""), ("  " + about, ""), *inside]
    return f"{choice.place}: {choice.comment}\n{table(rows)}"


def settings_of(choice: Choice, file: ConfigFile) -> list[tuple[str, str]]:
    """The settings of an option, other than those made from others."""
    place = choice.place if file.package is None else file.package
    rows = []
    for setting in file.settings:
        if not setting.value.startswith("${"):
            key = f"{place}.{setting.key}".lstrip(".")
            rows.append((f"    {key}={typed(yaml.safe_load(setting.value))}", setting.comment))
    return rows


def bases(group: str, file: ConfigFile) -> Iterator[ConfigFile]:
    """The files that an option includes from `base/` beside it, after those that they include themselves."""
    for name in file.includes:
        if name.startswith("base/"):
            base = read(f"{group}/{name}")
            yield from (read(f"{group}/base/{other}") for other in base.includes)
            yield base


def table(rows: Sequence[tuple[str, str]]) -> str:
    """Two columns. The lines of the second are wrapped, and begin below a first that is too long."""
    fitting = [len(head) for head, meaning in rows if meaning and len(head) <= COLUMN - 2]
    column = max(fitting, default=0) + 2
    wrapper = textwrap.TextWrapper(WIDTH - column, break_on_hyphens=False, break_long_words=False)
    lines = []
    for head, meaning in rows:
        cells = [cell for line in meaning.splitlines() for cell in wrapper.wrap(line)]
        if cells and len(head) > column - 2:
            lines.append(head)
            head = ""
        lines += [f"{first:{column}}{cell}".rstrip() for first, cell in zip_longest([head], cells, fillvalue="")]
    return "\n".join(lines)
