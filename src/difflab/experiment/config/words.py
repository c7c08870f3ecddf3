"""The words that users type, in Hydra's grammar: text as it stands, None as null, 1e3 as 1000, groups by place."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path

from difflab.experiment.config.files import is_group, options, own_keys, own_settings, places, settings_at
from difflab.experiment.config.settings import is_list, is_text
from difflab.experiment.parts.earlier_words import no_option, refuse_earlier
from difflab.experiment.parts.errors import UserError, suggestion

NAMES_A_RUN = ("run", "init", "teacher", "first_stage", "classifier", "contrastive")  # with settings, as a list
ITEM = r"(?:^|(?<=[,\[])|(?<=[,\[] ))(?:{})(?=\s*(?:$|[,\]]))"  # a whole value, or an item of a list or of a sweep
NONE = re.compile(ITEM.format("None"))  # as Python, and W&B's agent, write null
SCIENTIFIC = re.compile(ITEM.format(r"\d+(?:\.\d+)?[eE]\+?\d{1,2}"))
FUNCTION = re.compile(r"(?:choice|range|interval|glob|shuffle|sort|tag)\(")  # of a sweep
NUMBER = re.compile(ITEM.format(r"[-+]?\d[\d_.eE+-]*|true|false"), re.IGNORECASE)


def check_words(command: str, words: Sequence[str]) -> None:
    """Raise UserError for a word that is neither `KEY=VALUE` nor `~KEY`, and for a key with other signs."""
    for word in words:
        key, equals, _ = word.partition("=")
        if not re.fullmatch(r"[+~]*[\w./@:$-]+", key) or not (equals or word.startswith("~")):
            run = "" if command == "train" or not word or equals else f", or run={word} for a run of that name"
            example = f", as {key}={example_of(command, key)}" if not equals and [*settings_at(command, key)] else ""
            way = f"write KEY=VALUE as one word, without blanks around ={example}{run}"
            raise UserError(f"{word!r} is no setting: {way}")


def example_of(command: str, key: str) -> str:
    """A value that a setting may have: true where it is false by default, else its default."""
    default = next(setting.value for setting in settings_at(command, key))
    return "true" if default == "false" else default


def spelled(command: str, word: str) -> str:
    """An override in Hydra's grammar: `sampler.schedule=vp` as `schedule@sampler.schedule=vp`, a teacher as its run.

    Raises UserError for a group that is given no option, for a setting without a value, and for a word that is another
    by now.
    """
    refuse_earlier(command, word)
    placed = dict(placements(command))
    key, equals, value = word.partition("=")
    if not equals:
        return placed.get(key, key)
    if key.startswith("+trainer."):
        key = f"+{key.lstrip('+')}" if key.startswith("++") else f"+{key}"  # an ordinary setting, too
    if value := value_in_grammar(command, key, value):
        check_place(command, key, value)
        if is_group(key.lstrip("+")) or key.lstrip("+") in places(command):
            check_option(command, key.lstrip("+"), value)
        elif is_list(own_settings(command, key.lstrip("+"))) and is_single(value):
            value = f"[{value}]"
        elif key.rpartition(".")[2] in NAMES_A_RUN and value.startswith("[") and value.endswith("]"):
            value = quoted(value[1:-1])
        return f"{placed.get(key, key)}={value}"
    raise UserError(f"{word} has no value: give one, or null for none")


def is_single(value: str) -> bool:
    """Whether a value in Hydra's grammar is one text or number: no list, no null, and no sweep."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    found = OverridesParser.create().parse_override(f"key={value}")
    return not found.is_sweep_override() and found.value() is not None and not isinstance(found.value(), list | dict)


def check_option(command: str, key: str, value: str) -> None:
    """Raise UserError for no option of a group, and for a number or the path of a file, of which Hydra has a view."""
    choice = places(command).get(key)
    valid = options(choice.group if choice else key)
    if value in ("[]", "null"):
        way = f"or say {key}=none" if "none" in valid else f"or choose one of {', '.join(valid)}"
        raise UserError(f"{key}={value} chooses nothing: leave it out, {way}")
    if "/" in value or "\\" in value or NUMBER.fullmatch(value):
        raise UserError(no_option(key, value, valid))


def check_place(command: str, key: str, value: str) -> None:
    """Raise UserError for a `GROUP@PLACE` that is inside no key of a command, or chooses no option."""
    group, at, place = key.lstrip("+").partition("@")
    if not at or not is_group(group):
        return
    check_option(command, group, value)
    tops = sorted({inner.partition(".")[0] for inner in (*places(command), *own_keys(command))})
    if place.partition(".")[0] not in tops:
        raise UserError(f"{key}={value}: {place!r} is inside no key of {command}; {suggestion(place, tops)}")
    if not key.startswith("+") and place not in places(command):
        raise UserError(f"{key}={value}: no option stands there that could be another; +{key}={value} adds one")


def value_in_grammar(command: str, key: str, text: str) -> str:
    """A typed value in Hydra's grammar.

    Text that the grammar does not have, as paths with brackets, is put in quotes, and so are numbers where the type is
    text; `None` is null; `1e3` is 1000, which fits whole numbers and others. Raises UserError for brackets or
    quotes that do not close.
    """
    in_quotes = "'" in text or '"' in text
    text = text if in_quotes else NONE.sub("null", text)
    if not parses(text):
        if text[0] in "[{'\"" or FUNCTION.match(text):
            way = shlex.quote(f"{key}={quoted(text)}")
            raise UserError(f"{key}={text} does not close a bracket or a quote; as text it is {way}")
        return quoted(text if text.count("${") <= text.count("}") else text.replace("${", "\\${"))  # no interpolation
    if in_quotes:
        return text
    if NUMBER.search(text) and "(" not in text and is_text(settings_at(command, key.lstrip("+"))):
        return NUMBER.sub(lambda number: quoted(number[0]), text)
    return text if "(" in text else SCIENTIFIC.sub(whole, text)  # of interval(1e3,1e4) the numbers are no whole ones


def parses(text: str) -> bool:
    """Whether text is a value of Hydra's grammar, or several."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        OverridesParser.create().parse_override(f"key={text}")
    except HydraException:
        return False
    return True


def whole(number: re.Match[str]) -> str:
    """A number in scientific notation, by its digits where it is a whole one."""
    exact = Decimal(number[0])
    return str(int(exact)) if exact == exact.to_integral_value() else number[0]


def quoted(value: object) -> str:
    """A plain value in Hydra's grammar, text in quotes."""
    from hydra.core.override_parser.types import Quote, QuotedString

    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case list() | tuple():
            return f"[{','.join(map(quoted, value))}]"
        case str() | Path():
            return QuotedString(str(value), Quote.double).with_quotes()
    return str(value)


def word_for(text: str) -> str:
    """Text as a value on the command line: as it is, or in quotes for Hydra and for the shell where it needs them."""
    return text if re.fullmatch(r"[\w./-]+", text) else shlex.quote(quoted(text))


def placements(command: str) -> Iterator[tuple[str, str]]:
    """The words that stand for another place: (`sampler.schedule`, `schedule@sampler.schedule`).

    Groups that do not stand at their own name; and a run, which may be given as the value of what it serves.
    """
    known = places(command)
    for choice in known.values():
        if choice.word != choice.group:
            yield choice.place, choice.word
            if choice.group not in known:  # it stands inside another group's options alone, as extractor does
                yield choice.group, choice.word
    if command == "train":
        yield "teacher", "teacher.run"
        yield "first_stage", "first_stage.run"
