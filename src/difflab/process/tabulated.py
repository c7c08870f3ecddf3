"""A schedule over a sampling grid: what depends on its times alone is computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from difflab.process.gaussian import Mix
from difflab.process.schedule import Schedule, Times, Y


class Tabulated:
    """A schedule that keeps, in a table, its coefficients at the falling `times` of a grid.

    The first call at one of the times computes the coefficient for all of them at once. Everything else, equality
    included, is the schedule's own. The parameters of a learned schedule must not change in the meantime.
    """

    def __init__(self, schedule: Schedule, times: Tensor) -> None:
        self.schedule, self.times = schedule, times
        self.place = {time: k for k, time in enumerate(times.tolist())}
        self.table: dict[tuple[object, ...], Any] = {}

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # any attribute of the schedule
        return getattr(self.schedule, name)

    def __eq__(self, other: object) -> bool:
        return self.schedule == (other.schedule if isinstance(other, Tabulated) else other)

    def __hash__(self) -> int:
        return hash(self.schedule)

    def __repr__(self) -> str:
        return repr(self.schedule)

    def __call__(self, t: Tensor) -> Mix:
        """The mix at time `t`."""
        return self.at(mix, t)

    def rate(self, t: Tensor) -> Mix:
        """The derivatives `(alpha', sigma')` with respect to time."""
        return self.at(rate, t)

    def at(self, f: Callable[[Schedule, *Times], Y], *times: *Times) -> Y:
        """`f(schedule, *times)`: see `Schedule.at`."""
        own, key = cast(Schedule, self), cast(list[object], [f])
        for each in times:
            if isinstance(each, Tensor):
                if each.ndim or each.requires_grad:
                    return f(own, *times)
                key.append(each.item())
            else:
                key.append(each)
        if (row := tuple(key)) not in self.table:
            with torch.inference_mode(False), torch.no_grad():  # gradients cannot use what inference mode makes
                self.add(row, f, times)
        value: Y = self.table[row]
        return value

    def add(self, key: tuple[object, ...], f: Callable[..., Any], times: Sequence[object]) -> None:
        """Compute a row, and with it those of all times of the grid that lie to each other as these do."""
        places = [self.place.get(time) for time, each in zip(key[1:], times, strict=True) if isinstance(each, Tensor)]
        if None in places:
            self.table[key] = f(self, *times)
            return
        shifts = [cast(int, place) - cast(int, places[0]) for place in places]
        first, end = -min(shifts), len(self.times) - max(shifts)
        spans = [self.times[first + shift : end + shift] for shift in shifts]
        more = times[len(spans) :]
        keys = zip(*(span.tolist() for span in spans), strict=True)
        for row, value in zip(keys, unbound(f(self, *spans, *more)), strict=True):
            self.table[(f, *row, *more)] = value


def mix(schedule: Schedule, t: Tensor) -> Mix:
    """That of the schedule in the table."""
    return cast(Tabulated, schedule).schedule(t)


def rate(schedule: Schedule, t: Tensor) -> Mix:
    """That of the schedule in the table."""
    return cast(Tabulated, schedule).schedule.rate(t)


def unbound(columns: Any) -> Sequence[Any]:  # noqa: ANN401  # a tensor `(n,)`, or a tuple of such
    """The n rows, each a tensor `()`, or a tuple of such."""
    if isinstance(columns, Tensor):
        return columns.unbind()
    made = getattr(columns, "_make", tuple)
    return [made(row) for row in zip(*map(unbound, columns), strict=True)]
