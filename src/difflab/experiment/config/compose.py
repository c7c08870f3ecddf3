"""From a configuration to objects: where it lies, what is wrong with it, and what it builds."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, InterpolationResolutionError

from difflab.experiment.config.files import groups, options
from difflab.experiment.config.hydra_errors import in_words
from difflab.experiment.config.resolvers import RESOLVERS
from difflab.experiment.config.settings import check_ranges, schemas
from difflab.experiment.config.space import of_space
from difflab.experiment.config.words import check_words, spelled
from difflab.experiment.parts.earlier_words import no_option
from difflab.experiment.parts.search_path import Outside, conf_dir, outside

if TYPE_CHECKING:
    from hydra._internal.config_loader_impl import ConfigLoaderImpl


@cache
def register_settings() -> None:
    """Give Hydra the types of the commands' settings, and the folders outside conf/, once in a process.

    Those of a launcher need it, too.
    """
    from hydra.core.config_search_path import ConfigSearchPath
    from hydra.core.config_store import ConfigStore
    from hydra.core.plugins import Plugins
    from hydra.plugins.search_path_plugin import SearchPathPlugin

    class FoldersOutside(SearchPathPlugin):
        """Search the folders that are on at the moment after conf/."""

        def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
            for owner, folder in outside().search:
                search_path.append(owner, f"file://{folder.resolve()}")

    Plugins.instance().register(FoldersOutside)
    for name, schema in schemas():
        ConfigStore.instance().store(name, schema)


def loader() -> ConfigLoaderImpl:
    """Hydra's reader of conf/ and the folders outside it.

    It uses none of Hydra's globals, so that a running job can compose another.
    """
    return loader_of(outside())


@cache
def loader_of(now: Outside) -> ConfigLoaderImpl:
    """The reader for these extensions and folders, made once in a process."""
    from hydra import version
    from hydra._internal.utils import create_config_search_path

    from difflab.experiment.config.source import Reader

    version.setbase("1.3")
    register_settings()
    return Reader(create_config_search_path(conf_dir()))


def composition(command: str, overrides: Sequence[str] = ()) -> DictConfig:
    """What Hydra composes from `conf/COMMAND.yaml` and overrides in its grammar, its own settings under `hydra`.

    Raises HydraException for overrides that do not fit.
    """
    from hydra.types import RunMode

    return loader().load_configuration(command, [*overrides], RunMode.RUN, from_shell=False)


def composed(command: str, words: Sequence[str] = ()) -> DictConfig:
    """The same from the words that users type. Raises ValueError for words that do not fit."""
    from hydra.errors import HydraException

    check_words(command, words)
    try:
        return composition(command, [spelled(command, word) for word in words])
    except HydraException as error:
        raise ValueError(unknown_option(words) or f"{' '.join(words)}: {in_words(error)}") from error


def unknown_option(words: Sequence[str]) -> str:
    """Which word chooses an option that does not exist, and which do; empty if all exist."""
    known = groups()
    for word in words:
        group, _, option = word.partition("=")
        option = option.strip('"')
        if group in known and option.isidentifier() and option not in known[group]:
            return no_option(group, option, known[group])
    return ""


def compose(command: str, words: Sequence[str] = ()) -> dict[str, Any]:
    """The plain configuration of `conf/COMMAND.yaml` with overrides, as the command line composes it.

    Raises ValueError for overrides that do not fit, and for values that are still to be given.
    """
    return as_plain(command, words, composed(command, words))


def nodes_of(group: str) -> dict[str, Any]:
    """Every option of a group with the defaults of everything else. Raises ValueError as `compose` does."""
    return nodes({group: options(group)})[group]


def nodes(chosen: Mapping[str, Sequence[str]]) -> dict[str, dict[str, Any]]:
    """Some options of some groups with the defaults of everything else, in one composition, which is fast.

    They stand inside of the option that is chosen there. Raises ValueError as `compose` does.
    """
    every = [f"+{group}@{group}.every.{option}={option}" for group, some in chosen.items() for option in some]
    composed_once = compose("train", every)
    return {group: dict(composed_once[group]["every"]) for group in chosen}


def compose_job(command: str, words: Sequence[str] = ()) -> dict[str, Any]:
    """The same of one job. Raises ValueError also for an experiment that is a sweep and leaves a choice open."""
    whole = composed(command, words)
    given = {word.partition("=")[0] for word in words}
    swept = whole.hydra.sweeper.get("params") or {}
    if left := [f"{key}={values}" for key, values in swept.items() if key not in given]:
        raise ValueError(f"{' '.join(words)} is a sweep: choose one of each of {' '.join(left)}")
    return as_plain(command, words, whole)


def as_plain(command: str, words: Sequence[str], whole: DictConfig) -> dict[str, Any]:
    """The plain configuration of a composed one, with the options chosen, the command and the study's name."""
    choices = chosen(OmegaConf.to_container(whole.hydra.runtime.choices))
    config = plain(whole)
    check_ranges(command, config)
    line = shlex.join([f"difflab-{command}", *words])
    return {**config, "choices": choices, "command": line, "study": config.get("study") or choices.get("experiment")}


def chosen(choices: Any) -> dict[str, Any]:  # noqa: ANN401  # what Hydra says was chosen
    """The chosen options by group, of difflab's groups alone."""
    known = groups()
    return {group: option for group, option in choices.items() if group in known and option}


def plain(config: DictConfig) -> dict[str, Any]:
    """The configuration as plain resolved dicts, lists and values, without Hydra's own settings.

    Raises ValueError for values that are still to be given.
    """
    raw: dict[str, Any] = OmegaConf.to_container(config)  # type: ignore[assignment]  # a DictConfig gives a dict
    raw.pop("hydra", None)
    if missing := [f"{key}=..." for key in keys_of(raw, "???")]:
        raise ValueError(f"please give a value: {', '.join(missing)}")
    try:
        values = {key: config[key] for key in raw}
        return {
            key: OmegaConf.to_container(v, resolve=True) if OmegaConf.is_config(v) else v for key, v in values.items()
        }
    except InterpolationKeyError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{error.full_key}: {reason}; ${{KEY}} stands for a setting, \\${{KEY}} for the text"
        ) from error
    except InterpolationResolutionError as error:
        line = str(error).splitlines()[0]
        raise ValueError(line.partition(": ")[2] or line) from error


def keys_of(node: object, value: object, path: tuple[str, ...] = ()) -> Iterator[str]:
    """The dotted keys under which a nested dict has a value."""
    if isinstance(node, Mapping):
        for key, child in node.items():
            yield from keys_of(child, value, (*path, str(key)))
    elif node == value:
        yield ".".join(path)


def space(key: str, default: object = None, *, _root_: DictConfig) -> object:
    """For `${space:KEY,DEFAULT}`; see `of_space`."""
    return of_space(compose, key, default, _root_)


for name, resolver in {**RESOLVERS, "space": space}.items():
    OmegaConf.register_new_resolver(name, resolver, replace=True)
