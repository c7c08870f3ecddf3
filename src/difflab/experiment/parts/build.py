"""From a configuration's nodes to objects: what is wrong with them, and what they build."""

from __future__ import annotations

import importlib
import inspect
import re
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from difflab.experiment.parts.errors import suggestion
from difflab.experiment.parts.extensions import installed
from difflab.experiment.parts.ranges import bare, outside, ranges
from difflab.experiment.parts.search_path import by_package, refusal

FOREIGN = (  # the only classes outside difflab that a configuration may build
    "lightning.pytorch.Trainer",
    "lightning.pytorch.callbacks.DeviceStatsMonitor",
    "lightning.pytorch.callbacks.LearningRateMonitor",
    "lightning.pytorch.callbacks.RichModelSummary",
)
FOLDERS = ("process", "objective", "denoiser", "backbone", "data", "metric", "sampler", "guidance", "paradigm")
WORDS = ("_target_", "_partial_")  # of Hydra: the class, and whether it is left to be called with its other arguments
CONCEPTS = (*(f"difflab.{folder}" for folder in FOLDERS), "difflab.experiment")  # whose classes it may build


def build(node: Mapping[str, Any], **more: object) -> Any:  # noqa: ANN401  # any class that the node names
    """Build the object that a plain configuration node names, and those inside it.

    Only classes that `target` finds are built: loading somebody's configuration runs none of their code, unless it is
    that of an extension which the user of this process has switched on. Keys and types are held against the class's
    signature first. Raises ValueError for what does not fit.
    """
    check(node, more.keys())
    return make(node, **more)


def make(node: Any, **more: object) -> Any:  # noqa: ANN401  # any plain value, or any class that it names
    """The plain value with every checked `_target_` in it built, innermost first."""
    if isinstance(node, list):
        return [make(item) for item in node]
    if not isinstance(node, Mapping):
        return node
    values = {key: make(value) for key, value in node.items() if key not in WORDS}
    if "_target_" not in node:
        return values
    cls = target(node["_target_"])
    if node.get("_partial_"):
        return partial(cls, **values, **more)
    try:
        return cls(**values, **more)
    except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError) as error:
        raise ValueError(f"{cls.__name__} cannot be made of {described(values)}: {error!r}") from error


def described(values: Mapping[str, object]) -> str:
    """Plain arguments in one line of bounded length."""
    plain = [f"{key}={value!r}" for key, value in values.items() if isinstance(value, int | float | str | list)]
    text = ", ".join(plain)
    return text if len(text) < 200 else f"{text[:200]}..."


def target(path: object) -> type:
    """The class that a `_target_` names by its concept, as `difflab.sampler.DDIM`, in any file.

    Raises ValueError for anything but the classes that difflab's folders export, FOREIGN, and the classes that
    extensions define which are on. A name under which they export a class of others is refused.
    """
    module, _, name = str(path).rpartition(".")
    package = module.partition(".")[0]
    extension = by_package(package)
    if str(path) in FOREIGN or module in CONCEPTS or extension:
        found = getattr(extension.imported(module) if extension else importlib.import_module(module), name, None)
        owner = package if extension else module
        if isinstance(found, type) and (str(path) in FOREIGN or f"{found.__module__}.".startswith(f"{owner}.")):
            return found
    elif package in {each.package for each in installed().values()}:
        raise ValueError(f"_target_: {path} is of {refusal(package)}")
    raise ValueError(
        f"_target_: {path} is refused: a configuration builds classes of difflab, of extensions that are on, and "
        f"{', '.join(FOREIGN)}; a class of your own enters by an extension, see `difflab extensions`"
    )


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
    parameters = parameters_of(cls)
    named = {key: value for key, value in node.items() if key not in WORDS}
    at = f"{where} ({cls.__name__})" if where else cls.__name__
    for key, value in named.items():
        if key not in parameters:
            raise ValueError(f"{key!r} is not a key of {at}; {suggestion(key, [*parameters])}")
        hint = parameters[key].annotation
        if not fits(value, hint):
            raise ValueError(f"{key}={value!r} in {at} should be of type {plainly(hint)}")
        if must := outside(value, [*ranges(hint)]):
            raise ValueError(f"{key}={value!r} in {at} must {must}")
    required = {name for name, p in parameters.items() if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD}
    if (absent := sorted(required - set(named) - set(given))) and not node.get("_partial_"):
        raise ValueError(f"{at} needs {', '.join(f'{name}=' for name in absent)}")


@cache
def parameters_of(cls: type) -> Mapping[str, inspect.Parameter]:
    """The parameters of a class, their types evaluated."""
    return inspect.signature(cls, eval_str=True).parameters


def plainly(hint: Any) -> str:  # noqa: ANN401  # a type hint may be any object
    """A type hint as people read it."""
    text = re.sub(r"(typing|collections\.abc)\.", "", inspect.formatannotation(hint)).replace("Sequence[", "list[")
    return re.sub(r"Annotated\[(\w+), Interval\([^)]*\)\]", r"\1", text)


def fits(value: object, hint: Any) -> bool:  # noqa: ANN401  # a type hint may be any object
    """Whether a plain value can be passed where the type is `hint`."""
    hint = bare(hint)
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(fits(value, arg) for arg in args)
    if origin is Literal:
        return value in args
    if isinstance(value, Mapping):
        if "_target_" in value:
            return hint is Any or is_a(target(value["_target_"]), hint)
        items = args[1] if args and origin in (dict, Mapping) else Any
        return hint is Any or (
            (origin or hint) in (dict, Mapping) and all(fits(each, items) for each in value.values())
        )
    if isinstance(value, list):
        items = args[0] if args else Any
        if origin is tuple and args[-1] is not Ellipsis and len(value) != len(args):
            return False
        return hint is Any or (origin in (Sequence, list, tuple) and all(fits(item, items) for item in value))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint in (int, bool, str, types.NoneType):
        return type(value) is hint
    return hint is Any or not isinstance(value, int | float | str | bool | None)


def is_a(cls: type, hint: Any) -> bool:  # noqa: ANN401  # a type hint may be any object
    """Whether an object of a class can be passed where the type is `hint`: of a protocol it has the methods."""
    if get_origin(hint) is Callable:
        return hasattr(cls, "__call__")  # noqa: B004  # the class is asked, not an object
    if not isinstance(hint, type) or hint in (int, float, bool, str, types.NoneType):
        return False
    if not getattr(hint, "_is_protocol", False):
        return issubclass(cls, hint)
    bases = [base for base in hint.__mro__ if getattr(base, "_is_protocol", False)]
    methods = [name for base in bases for name, each in vars(base).items() if inspect.isfunction(each)]
    return all(any(name in vars(base) for base in cls.__mro__) for name in methods)


def absolute(node: Any) -> Any:  # noqa: ANN401  # plain values
    """Plain values in which the arguments that a class declares as `paths` are absolute."""
    if isinstance(node, list):
        return [absolute(item) for item in node]
    if not isinstance(node, Mapping):
        return node
    paths = getattr(target(node["_target_"]), "paths", ()) if "_target_" in node else ()
    return {
        key: str(Path(value).expanduser().resolve()) if key in paths and value is not None else absolute(value)
        for key, value in node.items()
    }
