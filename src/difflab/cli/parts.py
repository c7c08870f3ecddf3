"""Parts that commands are given by name: options of a group, composed through Hydra and built."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args

from omegaconf import DictConfig, OmegaConf

from difflab.denoiser.base import AnyDenoiser
from difflab.denoiser.classifier import AnyClassifier
from difflab.experiment.config.compose import composed, plain
from difflab.experiment.config.files import groups
from difflab.experiment.parts.build import build, target
from difflab.experiment.parts.errors import UserError, suggestion
from difflab.experiment.parts.extensions import installed
from difflab.experiment.parts.search_path import conf_dir, relative_options
from difflab.laws.labelled import VAR, Bayes, Labelled
from difflab.process.schedule import VP

CONTEXTS: dict[str, tuple[tuple[str, ...], ...]] = {  # words beside a part: the first that it can be built with
    "schedule": ((),),
    "target": ((),),
    "times": ((),),
    "weighting": ((),),
    "grid": ((),),
    "sampler": ((),),
    "guidance": ((),),
    "range": ((),),
    "backbone": ((), ("data=eight_gaussians",)),  # for images, or for points
    "data": ((),),
    "paradigm": (
        ("experiment=toy", "batch_size=32768", "coupling=independent", "backbone.classes=3", "backbone.width=64"),
        ("batch_size=2048", "backbone.width=16", "backbone.multipliers=[1,2]"),  # as a classifier of images is trained
    ),
}
NARROW = {"width": 32, "depth": 2, "heads": 2}  # a network that is large is held to the laws with these
LARGE = 3_000_000  # parameters


@dataclass(frozen=True)
class Part:
    """One option of a group, with the words that set it, built."""

    group: str
    option: str
    built: Any  # of the class that the option names; None where that needs a value, of all options of a group
    settings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # in what it is not the option as it stands

    @property
    def title(self) -> str:
        """The words by which it is chosen."""
        return " ".join((f"{self.group}={self.option}", *self.settings))


def parts(words: Sequence[str]) -> list[Part]:
    """The parts that the words of the command name, each built. Raises ValueError for words that name none.

    A word is `GROUP=OPTION`, `GROUP=A,B`, `GROUP` for all of its options, or the name of an extension for all that it
    brings; `GROUP.KEY=VALUE` sets a part of it.
    """
    chosen = [pair for word in words if not is_setting(word) for pair in options_of(word)]
    given = {group for group, _ in chosen}
    for word in filter(is_setting, words):
        if place(word) not in given:
            raise UserError(f"{word} sets no part that is named: name it, as {place(word)}=...")
    whole = {word for word in words if word in CONTEXTS}
    return [
        part(group, option, [w for w in words if is_setting(w) and place(w) == group], group in whole)
        for group, option in chosen
    ]


def is_setting(word: str) -> bool:
    """Whether a word sets a part, as `sampler.eta=0.5`, rather than names one."""
    return "." in word.partition("=")[0]


def place(word: str) -> str:
    """The group that a setting belongs to; the paradigm's are under `model`."""
    head = word.partition(".")[0]
    return "paradigm" if head == "model" else head


def options_of(word: str) -> Iterator[tuple[str, str]]:
    """The group and the option of each part that a word names. Raises UserError for words that name none."""
    group, equals, chosen = word.partition("=")
    if word in installed():
        yield from brought(word)
        return
    if group not in CONTEXTS:
        raise UserError(f"{word}: there are no laws of {group!r}; {suggestion(group, [*CONTEXTS, *installed()])}")
    known = groups()[group]
    for option in chosen.split(",") if equals else known:
        if option not in known:
            raise UserError(f"{group}={option} does not exist; {suggestion(option, known)}")
        yield group, option


def brought(name: str) -> Iterator[tuple[str, str]]:
    """The options that an extension brings, of groups that have laws. Raises UserError if there are none."""
    conf = installed()[name].conf
    found = [tuple(option.split("/")) for option in relative_options(conf)] if conf else []
    pairs = [(pair[0], pair[1]) for pair in sorted(found) if len(pair) == 2 and pair[0] in CONTEXTS]
    if not pairs:
        raise UserError(f"{name} brings no options of {', '.join(CONTEXTS)} in a folder conf/ of its package")
    yield from pairs


def part(group: str, option: str, settings: Sequence[str] = (), any_of: bool = False) -> Part:
    """An option of a group, built beside the first of the group's contexts in which it can be.

    One that cannot raises UserError, or if it is `any_of` the group is not built, with the reason as a note.
    """
    refusals: list[ValueError] = []
    for context in CONTEXTS[group]:
        try:
            return in_context(group, option, settings, context)
        except ValueError as error:
            refusals.append(error)
    if any_of:
        return Part(group, option, None, tuple(settings), (str(refusals[0]),))
    raise UserError(f"{group}={option}: {refusals[0]}") from refusals[0]


def in_context(group: str, option: str, settings: Sequence[str], context: Sequence[str]) -> Part:
    """The same beside the words of a context."""
    whole = composed("train", [*context, f"{group}={option}", *settings])
    node = "model" if group == "paradigm" else group
    OmegaConf.set_readonly(whole, False)
    if group == "guidance":
        stand_in(whole.guidance)
    if group == "backbone":
        whole.backbone.classes = 3
    config = plain(whole)[node]
    built, notes = of(group, option, config)
    return Part(group, option, built, tuple(settings), tuple(notes))


def of(group: str, option: str, config: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """What a plain configuration of a group's option builds, and in what that is not the option as it stands."""
    if group == "guidance":
        (node,) = config.values()  # under the option's own name
        exact = {key: exact_for(node, key) for key, value in node.items() if is_run(value)}
        notes = [f"{key} is an exact one, in place of a run" for key in exact]
        return build({key: value for key, value in node.items() if key not in exact}, **exact), notes
    built = build(config)
    if group == "backbone" and sum(p.numel() for p in built.parameters()) > LARGE:
        narrow = {key: value for key, value in NARROW.items() if key in config}
        whole = f"{sum(p.numel() for p in built.parameters()):,} parameters"
        words = " ".join(f"{key}={value}" for key, value in narrow.items()) or "its own size"
        return build({**config, **narrow}), [f"{whole}; held to the laws with {words}"]
    return built, []


def is_run(value: object) -> bool:
    """Whether a value is what another run trained."""
    return isinstance(value, Mapping) and value.get("_target_") == "difflab.experiment.FromRun"


def stand_in(node: DictConfig) -> None:
    """Name a run wherever one is still to be given: an exact network takes its place."""
    for own in node.values():
        for value in own.values() if isinstance(own, DictConfig) else ():
            if is_run(value):
                value.run = "exact"


def exact_for(node: Mapping[str, Any], key: str) -> Callable[[], AnyDenoiser | AnyClassifier]:
    """The exact denoiser that an argument asks for by its type, `Callable[[], AnyDenoiser]`, or else a classifier."""
    (_, kind) = get_args(inspect.signature(target(node["_target_"]), eval_str=True).parameters[key].annotation)
    return (lambda: Labelled(VP(), 4 * VAR)) if kind is AnyDenoiser else (lambda: Bayes(VP()))


@cache
def defaults() -> DictConfig:
    """The default configuration of difflab-train, unresolved."""
    whole = composed("train")
    OmegaConf.set_readonly(whole, False)
    OmegaConf.set_struct(whole, False)
    del whole["hydra"]
    return whole


@cache
def ours(group: str) -> dict[str, Any]:
    """The options of difflab's own conf/, built: what a part is crossed with and compared with.

    Each takes the place of the default option in one composed configuration, which is 20 times as fast as Hydra.
    """
    found = {}
    for path in sorted(Path(conf_dir(), group).glob("*.yaml")):
        merged = OmegaConf.merge(defaults(), {group: None}, {group: OmegaConf.load(path)})
        found[path.stem] = build(OmegaConf.to_container(merged[group], resolve=True))  # type: ignore[arg-type,index]  # it is a dict
    return found
