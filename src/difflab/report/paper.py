"""The rankings as tables of a paper: LaTeX with booktabs, numbers aligned at the point, the card in a footnote."""

from __future__ import annotations

import re
from collections.abc import Sequence

from difflab.metric.direction import title
from difflab.report.ranking import Place
from difflab.report.reading import READING, difference_text
from difflab.report.study import Study
from difflab.report.tables import RankingTable, marked, ranking_tables
from difflab.report.text import nfe_text

SIGNS = {"^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "\\": r"\textbackslash{}"}  # others by a backslash
TYPESET = {"±": r"$\pm$", "†": r"$^\dagger$", "‡": r"$^\ddagger$", "×": r"$\times$", "≤": r"$\le$", "≥": r"$\ge$"}
LONGEST = 40  # rows of a table; more of them become a table for each NFE


def latex(study: Study, metric: str | None = None, target: float | None = None) -> str:
    """The rankings as LaTeX, which needs the package booktabs; each table has a label of its own."""
    ranked = list(ranking_tables(study, metric, target))
    found = []
    for k, table in enumerate(ranked, 1):
        label = f"tab:{table.metric}" + (f"-{k}" if len(ranked) > 1 else "")
        places = table.places
        nfes = list(dict.fromkeys(place.cell.nfe for place in places))
        if len(places) <= LONGEST or len(nfes) == 1:
            found.append(environment(table, places, label, ""))
            continue
        for nfe in nfes:
            chosen, words = [place for place in places if place.cell.nfe == nfe], nfe_text(nfe)
            found.append(environment(table, chosen, f"{label}-nfe-{words.replace(' ', '-')}", f", NFE {words}"))
    return "% \\usepackage{booktabs}\n\n" + "\n".join(found)


def environment(table: RankingTable, places: Sequence[Place], label: str, at: str) -> str:
    """One table with its caption, label and footnotes."""
    study, factors = table.study, table.study.distinguishing or ("paradigm",)
    reading, card = " ".join(READING[:-1]), table.notes[-1]
    notes = [note for note in table.notes[len(READING) : -1] if not note.startswith("Of several metrics")]
    floor = table.group.floor(table.metric)
    if floor and floor.value is not None:
        notes.insert(0, f"Floor, real samples against real ones: {floor}.")
    heads = [
        "NFE",
        *map(escaped, factors),
        rf"\multicolumn{{2}}{{c}}{{{stacked(title(table.metric))}\footnote{{{escaped(card)}}}}}",
        "seeds",
        r"\multicolumn{2}{c}{s a sample}",
        "from the best",
        rf"verdict\footnote{{{escaped(reading)}}}",
    ]
    lines = [
        r"\begin{table}",
        r"\caption{" + escaped(f"{table.title}{at}.") + "}",
        rf"\label{{{label}}}",
        r"\begin{minipage}{\linewidth}",
        r"\centering\footnotesize\setlength{\tabcolsep}{4pt}",
        rf"\begin{{tabular}}{{r{'l' * len(factors)}r@{{}}lrr@{{}}lrl}}",
        r"\toprule",
        " & ".join(heads) + r" \\",
        *body(study, places, factors),
        r"\bottomrule",
        r"\end{tabular}",
        *(rf"\par\smallskip\footnotesize\raggedright {escaped(note)}" for note in notes),
        r"\end{minipage}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def stacked(words: str) -> str:
    """A heading with its remark in a line below: the features of a distance."""
    name, _, remark = words.partition(" (")
    return rf"\shortstack{{{escaped(name)}\\({escaped(remark)}}}" if remark else escaped(name)


def body(study: Study, places: Sequence[Place], factors: Sequence[str]) -> list[str]:
    """The rows, with a rule above each NFE; the best value of each NFE is bold."""
    lines, last = [], None
    for place in places:
        cell, best = place.cell, place.verdict is None
        if cell.nfe != last:
            lines.append(r"\midrule")
        values = [
            nfe_text(cell.nfe) if cell.nfe != last else "",
            *(escaped(cell.factors[key]) for key in factors),
            at_point(marked(place), best),
            f"{place.value.n}",
            at_point(f"{cell.cost['seconds_per_sample']:.2g}"),
            escaped(difference_text(place.verdict)) if place.verdict else "",
            "best" if best else place.outcome.partition(" against")[0],
        ]
        lines.append(" & ".join(values) + r" \\")
        last = cell.nfe
    return lines


def at_point(text: str, bold: bool = False) -> str:
    """A number in two columns that meet at its point, with what follows it in the second."""
    whole, rest = re.fullmatch(r"([-+]?\w*)(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]  # it matches
    parts = [escaped(part) for part in (whole, rest)]
    parts[0] = re.sub("^-", "$-$", parts[0])
    parts[1] = re.sub("^ ", r"\\ ", parts[1])  # a space that begins a column is lost
    return " & ".join(rf"\textbf{{{part}}}" if bold and part else part for part in parts)


def escaped(text: str) -> str:
    """A text with the special characters of LaTeX escaped, and signs as its commands."""
    plain = re.sub(r"[_%&#{}$^~\\]", lambda match: SIGNS.get(match[0], f"\\{match[0]}"), text)
    return re.sub(f"[{''.join(TYPESET)}]", lambda match: TYPESET[match[0]], plain)
