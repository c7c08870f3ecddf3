"""From the command line to objects: where the configuration lies, what is wrong with it, and what it builds."""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import os
import sys
import types
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import hydra
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError

from difflab.data.layout import count_classes

FOREIGN = ("lightning.pytorch.Trainer",)  # the only class outside difflab that a configuration may build


def conf_dir() -> str:
    """The configuration groups: inside the package in a wheel, beside `src` in a checkout."""
    here = Path(__file__).resolve().parent
    for folder in (here / "conf", here.parents[1] / "conf"):
        if folder.is_dir():
            return str(folder)
    raise FileNotFoundError("difflab: no conf/ in the package or at the root of the repository; install it again")


def command(name: str, task: Callable[[DictConfig], object]) -> Callable[[], None]:
    """The console script of a task that takes the composed `conf/<name>.yaml`."""

    def main() -> None:
        OmegaConf.register_new_resolver("classes_in", count_classes, replace=True)
        sys.argv[1:] = words = [spelled(name, word) for word in sys.argv[1:]]
        started = []

        @functools.wraps(task)
        def job(config: DictConfig) -> object:
            started.append(config)
            return task(config)

        try:
            if not any(word.startswith("-") or sweeps(word) for word in words):  # with these Hydra must look itself
                with initialize_config_dir(conf_dir(), version_base="1.3"):
                    compose(name, words)
            hydra.main(version_base="1.3", config_path=conf_dir(), config_name=name)(job)()
        except HydraException as error:
            reason = [str(e).splitlines()[0] for e in (error, error.__cause__) if e]
            raise SystemExit(f"{program()}: {explanation(name, words) or '; '.join(reason)}") from error
        except KeyboardInterrupt:
            raise SystemExit(130) from None
        except SystemExit:
            refused = [] if started else [word for word in words if "=" in word and not word.startswith("-")]
            if why := explanation(name, refused):
                print(why, file=sys.stderr)
            raise

    return main


def spelled(name: str, word: str) -> str:
    """A word for the group that `conf/<name>.yaml` has at `a.b`, from `a.b=option` to Hydra's `b@a.b=option`."""
    defaults = yaml.safe_load(Path(conf_dir(), f"{name}.yaml").read_text())["defaults"]
    placed = {key.partition("@")[2]: key for entry in defaults for key in entry if "@" in key}
    key, equals, option = word.partition("=")
    if option == "[]" and Path(conf_dir(), key).is_dir():
        raise SystemExit(f"{program()}: {key}=[] chooses nothing; for no {key}, where there is that option, {key}=none")
    return f"{placed.get(key, key)}{equals}{option}"


def sweeps(word: str) -> bool:
    """Whether an override gives several values, as A=1,2."""
    return OverridesParser.create().parse_override(word).is_sweep_override()


def program() -> str:
    """The name that the user called."""
    return Path(sys.argv[0]).stem


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


def suggestion(word: str, valid: Sequence[str]) -> str:
    """The valid words, and the one that may have been meant."""
    close = difflib.get_close_matches(word, valid, 1)
    return f"valid: {', '.join(valid)}" + (f". Did you mean {close[0]!r}?" if close else "")


def explanation(name: str, overrides: Sequence[str]) -> str:
    """Which group, option or key of a refused command line does not exist, and which do; empty if all exist."""
    folders = [folder for folder in Path(conf_dir()).iterdir() if folder.is_dir()]
    groups = {folder.name: sorted(option.stem for option in folder.glob("*.yaml")) for folder in folders}
    try:
        parsed = OverridesParser.create().parse_overrides([*overrides])
    except HydraException:
        return ""
    given = [o for o in parsed if not (o.is_add() or o.is_delete())]
    chosen = [o for o in given if o.key_or_group in groups and isinstance(o.value(), str | list)]
    for override in chosen:
        group, value = override.key_or_group, override.value()
        for option in value if isinstance(value, list) else [str(value)]:
            if option not in groups[group]:
                return f"{group}={option} does not exist; {suggestion(str(option), groups[group])}"
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        known = compose(name, [str(o.input_line) for o in chosen], return_hydra_config=True)
    keys = [o.key_or_group for o in given if o.key_or_group not in groups and not o.key_or_group.startswith("hydra.")]
    return next(filter(None, (unknown_part(name, key, known, groups) for key in keys)), "")


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


def plain(config: DictConfig) -> dict[str, Any]:
    """The configuration as plain resolved dicts, lists and values.

    Raises ValueError for values that are still to be given.
    """
    raw = OmegaConf.to_container(config)
    if missing := [f"{key}=..." for key in keys_of(raw, "???")]:
        raise ValueError(f"please give a value: {', '.join(missing)}")
    try:
        return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]  # a DictConfig gives a dict
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


def build(node: Mapping[str, Any], **more: object) -> Any:  # noqa: ANN401  # whatever class the node names
    """Build the object that a plain configuration node names, and those inside it.

    Only classes of difflab are built, and Lightning's Trainer: loading somebody's configuration runs none of their
    code. Keys and types are held against the class's signature first. Raises ValueError for what does not fit.
    """
    check(node, more.keys())
    return make(node, **more)


def make(node: Any, **more: object) -> Any:  # noqa: ANN401  # any plain value, or whatever class it names
    """The plain value with every checked `_target_` in it built, innermost first."""
    if isinstance(node, list):
        return [make(item) for item in node]
    if not isinstance(node, Mapping):
        return node
    values = {key: make(value) for key, value in node.items() if key != "_target_"}
    return target(node["_target_"])(**values, **more) if "_target_" in node else values


def target(path: object) -> type:
    """The class that a `_target_` names. Raises ValueError for anything but difflab's classes and FOREIGN."""
    module, _, name = str(path).rpartition(".")
    if str(path) in FOREIGN or module.startswith("difflab."):
        found = getattr(importlib.import_module(module), name, None)
        if isinstance(found, type) and (found.__module__ == module or str(path) in FOREIGN):
            return found
    raise ValueError(f"_target_: {path} is refused: a configuration builds classes of difflab and {', '.join(FOREIGN)}")


def check(node: object, given: Collection[str] = (), where: str = "") -> None:
    """Hold a node, and the nodes in it, against the signatures of the classes they name."""
    if isinstance(node, list):
        for k, item in enumerate(node):
            check(item, (), f"{where}[{k}]")
    if not isinstance(node, Mapping):
        return
    for key, value in node.items():
        check(value, (), f"{where}.{key}".lstrip("."))
    if "_target_" not in node:
        return
    cls = target(node["_target_"])
    parameters = inspect.signature(cls, eval_str=True).parameters
    named = {key: value for key, value in node.items() if key != "_target_"}
    at = f"{where} ({cls.__name__})" if where else cls.__name__
    for key, value in named.items():
        if key not in parameters:
            raise ValueError(f"{key!r} is not a key of {at}; {suggestion(key, [*parameters])}")
        hint = parameters[key].annotation
        if not fits(value, hint):
            raise ValueError(f"{key}={value!r} in {at} should be of type {inspect.formatannotation(hint)}")
    required = {name for name, p in parameters.items() if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD}
    if absent := sorted(required - set(named) - set(given)):
        raise ValueError(f"{at} needs {', '.join(absent)}")


def fits(value: object, hint: Any) -> bool:  # noqa: ANN401  # a type hint may be any object
    """Whether a plain value can be passed where `hint` is asked for."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(fits(value, arg) for arg in args)
    if origin is Literal:
        return value in args
    if isinstance(value, list):
        items = args[0] if args else Any
        if origin is tuple and args[-1] is not Ellipsis and len(value) != len(args):
            return False
        return hint is Any or (origin in (Sequence, list, tuple) and all(fits(item, items) for item in value))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint in (int, bool, str, types.NoneType):
        return type(value) is hint
    return hint is Any or isinstance(value, Mapping) or not isinstance(value, int | float | str | bool | None)
