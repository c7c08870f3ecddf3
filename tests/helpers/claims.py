"""The claims of the texts, from docs/claims.yaml, and their pages in English and in Chinese."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

DOCS = Path(__file__).parents[2] / "docs"


@dataclass(frozen=True)
class Claim:
    """A row of the pages: a command and the file that it is about."""

    file: str
    command: str
    shows: str | dict


@cache
def book():
    """The file as it stands; no test may change it."""
    return yaml.safe_load((DOCS / "claims.yaml").read_text())


def claims():
    """All rows."""
    return [
        Claim(row["file"], row["command"], row["shows"]) for section in book()["sections"] for row in section["rows"]
    ]


def page(language):
    """The page in one language, `en` or `zh`."""
    blocks = [f"# {book()['title'][language]}", book()["about"][language]]
    for section in book()["sections"]:
        blocks.append(f"## {section[language]}")
        if "intro" in section:
            blocks.append(section["intro"][language])
        rows = [row(each, language) for each in section["rows"]]
        blocks.append("\n".join([line(book()["head"][language]), line(["--"] * 4, ""), *rows]))
        blocks += [f"> {note[language]}" for note in section.get("notes", ())]
    return "\n\n".join(blocks) + "\n"


def row(claim, language):
    """One row of a table."""
    formula = f"<br>${claim['formula']}$" if "formula" in claim else ""
    code = (f"`{claim[key]}`" for key in ("file", "command"))
    return line([claim[language] + formula, *code, shown(claim["shows"], language)])


def shown(shows, language):
    """What a command shows: a link to a figure or to a page, or words."""
    if isinstance(shows, dict):
        return shows[language]
    return f"[{book()['figure' if shows.endswith('.png') else 'page'][language]}]({shows})"


def line(cells, space=" "):
    """A line of a table."""
    return "|" + "|".join(f"{space}{cell}{space}" for cell in cells) + "|"
