"""What `difflab check` prints of a part."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from difflab.cli.check.laws import CONTINUOUS, Finding
from difflab.cli.check.placement import Placement
from difflab.cli.parts import Part

WIDTH = 120


def show(part: Part, facts: Mapping[str, str], found: Sequence[Finding], placement: Placement | None) -> None:
    """Facts, laws and placement of a part."""
    console = Console(width=WIDTH)
    failed = sum(finding.fails for finding in found)
    verdict = f"{failed} of {len(found)} laws fail" if failed else f"all {len(found)} laws hold, or do not apply"
    console.print(Text(f"\n{part.title}: {verdict}", "bold"))
    for key, value in [*facts.items(), *(("note", note) for note in part.notes)]:
        console.print(f"  {key}: {value}", highlight=False, markup=False)
    table = Table("law", "", "error", "allowed", "worst case, or why the law does not apply")
    for finding in found:
        table.add_row(*row(part, finding))
    console.print(table)
    if placement is not None:
        console.print(placed(placement))


def row(part: Part, finding: Finding) -> tuple[Text, ...]:
    """A law: whether it holds, and by what."""
    law = Text(finding.law)
    if finding.worst is None:
        return law, Text("-"), Text(), Text(), Text(f"does not apply: {finding.reason}")
    verdict = Text("FAILS", "bold red") if finding.fails else Text("holds")
    error, allowed = (Text(f"{value:.2g}") for value in (finding.worst.error, finding.worst.tolerance))
    return law, verdict, error, allowed, Text(shortened(part, finding.worst.case))


def shortened(part: Part, case: str) -> str:
    """The name of a case, with the option's name in place of all its arguments."""
    names = {str(part.built): part.option, **{str(schedule): type(schedule).__name__ for schedule in CONTINUOUS}}
    for long, short in names.items():
        case = case.replace(long, short)
    return case


def placed(placement: Placement) -> Table:
    """The errors, with the part's place in each column; the best of the second column come first."""
    floor = "" if placement.floor is None else f"; draws of the data have {placement.floor:.2g} in the mean of |.|"
    title = f"{placement.title}, of images with an exact denoiser, on the best of three grids{floor}"
    table = Table("", *placement.columns, title=title)
    order = sorted(placement.rows, key=lambda name: sortable(placement.rows[name]))
    for name in order:
        own = name == placement.own
        cells = [cell(placement, name, k) for k in range(len(placement.columns))]
        table.add_row(f"> {name}" if own else f"  {name}", *cells, style="bold" if own else None)
    return table


def sortable(errors: Sequence[float]) -> float:
    """The error by which rows are ordered."""
    return math.inf if math.isnan(errors[min(1, len(errors) - 1)]) else errors[min(1, len(errors) - 1)]


def cell(placement: Placement, name: str, column: int) -> str:
    """An error, and the place of the part that is checked."""
    value = placement.rows[name][column]
    if math.isnan(value):
        return "-"
    there = sum(not math.isnan(row[column]) for row in placement.rows.values())
    return f"{value:.3g} ({placement.rank(column)}/{there})" if name == placement.own else f"{value:.3g}"
