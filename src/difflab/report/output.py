"""All files of a report: the page, the tables and the figures of a study."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from difflab.report.dictionary import write_dictionary
from difflab.report.page import write_page
from difflab.report.paper import latex
from difflab.report.study import Study
from difflab.report.tables import markdown, write_csv


@dataclass(frozen=True)
class Options:
    """What a report can be given to do.

    `metric` is the one that cells are ranked by, by default the first of each protocol. `target` is the value of that
    metric to be reached, by default twice its floor. `title` is the heading of the page, by default the study's name.
    """

    metric: str | None = None
    target: float | None = None
    title: str = ""
    figures: bool = False  # which take matplotlib a few seconds


def write_report(study: Study, folder: Path, options: Options = Options()) -> Path:  # it is frozen
    """Write page and tables into a folder, and figures if they are wanted; return the path of the page.

    index.html                the page
    results.csv               the tidy table
    results-columns.csv       what each of its columns means
    ranking.md, ranking.tex   the rankings
    figures/NAME.pdf, .svg    the figures
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(study, folder / "results.csv")
    write_dictionary(study, folder / "results-columns.csv")
    (folder / "ranking.md").write_text(markdown(study, options.metric, options.target))
    (folder / "ranking.tex").write_text(latex(study, options.metric, options.target))
    if options.figures:
        from difflab.report.figures import write_figures

        write_figures(study, folder / "figures", options.metric)
    return write_page(study, folder, options.metric, options.target, options.title)
