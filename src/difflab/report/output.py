"""All files of a report: the page, the tables and the figures of a study."""

from __future__ import annotations

from pathlib import Path

from difflab.report.figures import write_figures
from difflab.report.page import write_page
from difflab.report.study import Study
from difflab.report.tables import latex, markdown, write_csv


def write_report(study: Study, folder: Path, metric: str | None = None) -> Path:
    """Write page, tables and figures into a folder; return the path of the page.

    `metric` is the one that cells are ranked by, by default the first of each protocol.

        index.html                the page
        results.csv               the tidy table
        ranking.md, ranking.tex   the rankings
        figures/NAME.pdf, .svg    the figures
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(study, folder / "results.csv")
    (folder / "ranking.md").write_text(markdown(study, metric))
    (folder / "ranking.tex").write_text(latex(study, metric))
    write_figures(study, folder / "figures", metric)
    return write_page(study, folder)
