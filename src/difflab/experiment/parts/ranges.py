"""The range that a number must lie in: of an argument by its type, of a setting by its comment in conf/."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

from annotated_types import Interval

# What holds of arguments whose type states no range.
FINITE = Interval(gt=-math.inf, lt=math.inf)
WHOLE = Interval(ge=-(2**63), lt=2**63)
STATED = re.compile(r"(?:(?:int|float) )?in ([\[(])(\S+), (\S+)([\])]): ")  # as `# int in [1, 1e12]: images`


def bare(hint: Any) -> Any:  # noqa: ANN401  # a type hint may be any object
    """A type hint without the range that `Annotated` adds to it."""
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def ranges(hint: Any) -> Iterator[Interval]:  # noqa: ANN401  # a type hint may be any object
    """The ranges that a number of a type may lie in: one for each type of a union; none where there is no number."""
    if get_origin(hint) is Annotated:
        yield from (each for each in hint.__metadata__ if isinstance(each, Interval))
    elif hint in (int, float):
        yield FINITE if hint is float else WHOLE
    else:
        for each in get_args(hint):
            yield from ranges(each)


def stated(comment: str) -> Interval | None:
    """The range that the comment of a setting begins with; None if it states none."""
    found = STATED.match(comment)
    if not found:
        return None
    opening, low, high, closing = found.groups()
    lower = {"ge" if opening == "[" else "gt": number(low)}
    return Interval(**lower, **{"le" if closing == "]" else "lt": number(high)})


def number(text: str) -> float:
    """A number as conf/ writes it; whole where it is."""
    value = float(text)
    return int(value) if value.is_integer() else value


def holds(interval: Interval, value: float) -> bool:
    """Whether a number lies in a range; nan lies in none."""
    bounds: dict[str, Any] = {key: getattr(interval, key) for key in ("ge", "gt", "le", "lt")}
    compared = {"ge": operator.ge, "gt": operator.gt, "le": operator.le, "lt": operator.lt}
    return all(compared[key](value, bound) for key, bound in bounds.items() if bound is not None)


def spoken(interval: Interval) -> str:
    """A range in mathematical notation."""
    if interval is FINITE:
        return "be finite"
    low = interval.ge if interval.gt is None else interval.gt
    high = interval.le if interval.lt is None else interval.lt
    opening, closing = "[" if interval.gt is None else "(", "]" if interval.lt is None else ")"
    bounds = ", ".join(f"{bound:_}".removesuffix(".0") for bound in (low, high))
    return f"lie in {opening}{bounds}{closing}"


def outside(value: object, allowed: list[Interval]) -> str:
    """What a number, or those of a list, must do that they do not; empty where all is well."""
    if isinstance(value, list | tuple):
        return next(filter(None, (outside(each, allowed) for each in value)), "")
    if isinstance(value, bool) or not isinstance(value, int | float) or not allowed:
        return ""
    if any(holds(each, value) for each in allowed):
        return ""
    return " or ".join(dict.fromkeys(map(spoken, allowed)))
