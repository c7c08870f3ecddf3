"""The command line: how a command starts its job or jobs, and what it says when its words make no sense."""

from __future__ import annotations

import functools
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from difflab.cli import multirun as sweep
from difflab.cli import settings  # noqa: F401  # types of the settings
from difflab.cli.help import sweeps, text
from difflab.data.layout import count_classes
from difflab.experiment.conf_files import places
from difflab.experiment.config import conf_dir, suggestion

Found = dict[str, Any] | None  # what a job found: plain values

OmegaConf.register_new_resolver("classes_in", count_classes, replace=True)  # here: a launcher's processes import this


def command(name: str, task: Callable[[DictConfig], Found]) -> Callable[[], None]:
    """The console script of a task that takes the composed `conf/<name>.yaml`, or sweeps over many."""

    def main() -> None:
        typed = sys.argv[1:]
        sys.argv[1:] = words = [spelled(name, word) for word in sys.argv[1:]]
        started = []

        @functools.wraps(task)
        def job(config: DictConfig) -> Found:
            started.append(config)
            return sweep.outcome(task, config)

        try:
            if {"-h", "--help"} & set(typed):
                print(text(name, typed))
                return
            if not any(word.startswith("-") or sweeps(word) for word in words):  # with these Hydra must look itself
                with initialize_config_dir(conf_dir(), version_base="1.3"):
                    compose(name, words)
            if "-sc" not in words:  # completion wants no more than the words
                sys.argv.append(f"hydra.job.name={program()}")  # as all processes of a multirun then know it
            hydra.main(version_base="1.3", config_path=conf_dir(), config_name=name)(job)()
        except HydraException as error:
            reason = [str(e).splitlines()[0] for e in (error, error.__cause__) if e]
            raise SystemExit(f"{program()}: {explanation(name, words) or '; '.join(reason)}") from error
        except KeyboardInterrupt:
            raise SystemExit(130) from None
        except SystemExit:
            refused = [] if started else [word for word in words if "=" in word]
            if why := explanation(name, refused):
                print(why, file=sys.stderr)
            raise
        finally:
            failed = sweep.close()
        if failed:
            raise SystemExit(f"{program()}: {failed} of the jobs failed; the same command does what is left")

    return main


def described(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with what was typed: the options chosen of each group, the command, and the study's name."""
    hydra_config = HydraConfig.get()
    groups = {folder.name for folder in Path(conf_dir()).iterdir() if folder.is_dir()}
    choices = {group: option for group, option in hydra_config.runtime.choices.items() if group in groups and option}
    words = OmegaConf.to_container(hydra_config.overrides.task)
    assert isinstance(words, list)
    about = {
        "choices": OmegaConf.to_container(OmegaConf.create(choices)),
        "command": shlex.join([str(hydra_config.job.name), *words]),
    }
    return {**config, **about, "study": config["study"] or choices.get("experiment")}


def spelled(name: str, word: str) -> str:
    """A word for the group that `conf/<name>.yaml` has at `a.b`, from `a.b=option` to Hydra's `b@a.b=option`."""
    placed = dict(placements(name))
    key, equals, option = word.partition("=")
    if option in ("[]", "null") and (key in placed or Path(conf_dir(), key).is_dir()):
        raise SystemExit(
            f"{program()}: {word} chooses nothing: leave it out, or say {key}=none where there is that option"
        )
    return f"{placed.get(key, key)}{equals}{option}"


def placements(name: str) -> Iterator[tuple[str, str]]:
    """Where groups stand that do not stand at their own name: (`sampler.schedule`, `schedule@sampler.schedule`)."""
    groups = places(name)
    for choice in groups.values():
        if choice.word != choice.group:
            yield choice.place, choice.word
            if choice.group not in groups:  # it stands inside another group's options alone, as extractor does
                yield choice.group, choice.word


def program() -> str:
    """The command that the user called, also where it was by `python -m difflab.NAME`."""
    stem = Path(sys.argv[0]).stem
    return stem if stem.startswith("difflab") else f"difflab-{stem}"


@contextmanager
def refusing() -> Iterator[None]:
    """Turn an error in what the user asked for into one line and a nonzero exit, while nothing has been done yet.

    HYDRA_FULL_ERROR=1 gives the whole traceback instead.
    """
    try:
        yield
    except (ValueError, OSError, ImportError, HydraException) as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        raise SystemExit(f"{program()}: {error}") from error


def explanation(name: str, overrides: Sequence[str]) -> str:
    """Which group, option or key of a refused command line does not exist, and which do; empty if all exist."""
    folders = [folder for folder in Path(conf_dir()).iterdir() if folder.is_dir()]
    groups = {folder.name: sorted(option.stem for option in folder.glob("*.yaml")) for folder in folders}
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
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        words = [str(o.input_line) for o, _ in chosen if not o.is_sweep_override()]
        try:
            known = compose(name, words, return_hydra_config=True)
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
            valid = [str(k) for k in node if k not in ("_target_", "hydra")] + sorted(map(str, also))
            where = f"{'.'.join(path[:depth])} as chosen" if depth else name
            return f"{part!r} is not a key of {where}; {suggestion(part, valid)}"
        child = node._get_node(part)
        node = None if child is None or child._is_none() else child
    return ""
