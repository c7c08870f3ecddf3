"""How values read in tables, labels and captions."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from difflab.experiment.parts.errors import printable
from difflab.report.statistics import Interval

NUMBER = re.compile(r"[-+]?[\d.]+(e[-+]?\d+)?")
MARKUP, MARKS = re.compile(r"[<>&|`\[\]]"), {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
SHA256 = re.compile(r"\b[0-9a-f]{64}\b")


def as_text(value: object) -> str:
    """A plain value in a cell of a table."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return value if isinstance(value, str) else json.dumps(value)


def csv_cell(value: object) -> object:
    """A value in a CSV file: a text that spreadsheets would take for a formula begins with an apostrophe."""
    formula = isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
    return f"'{value}" if formula and not NUMBER.fullmatch(str(value)) else value


def in_markdown(text: str) -> str:
    """A text in one line of Markdown, in which nothing of it becomes HTML, a link, a picture or a column."""
    return MARKUP.sub(lambda match: MARKS.get(match[0], f"\\{match[0]}"), " ".join(text.split()))


def in_figure(text: str) -> str:
    """A text in a figure of matplotlib, for which a pair of $ encloses a formula."""
    return printable(text).replace("$", r"\$")


def nfe_text(nfe: float) -> str:
    """The NFE that an evaluation was limited to; 0 stands for an adaptive sampler, limited by its tolerance."""
    return f"{nfe:g}" if nfe else "by tolerance"


def counted(number: int, noun: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{number} {noun}" + "s" * (number != 1)


def repetitions_text(value: Interval) -> str:
    """What an interval is taken over: `3 training seeds`, `one seed`."""
    return f"{value.n} {value.over}" if value.n > 1 else "one seed"


def short_hashes(text: str) -> str:
    """A text with each sha256 cut to 12 digits."""
    return SHA256.sub(lambda match: match[0][:12], text)
