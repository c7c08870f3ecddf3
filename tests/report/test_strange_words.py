"""Words of a stranger in a report's files: no formula, no HTML, no mathtext, no sequence of a terminal."""

import csv
import re

from markdown_it import MarkdownIt

from difflab.report.figures import figures
from difflab.report.output import write_report
from difflab.report.print import print_figure
from difflab.report.study import Study
from difflab.report.tables import print_ranking, ranking_tables
from helpers.studies import card, config, record

WORDS = [r"$\frac{1}$", "=1+1", "@SUM(A1)", "+1+1", "-1+1", "\t=1", "<script>alert(1)</script>", "<img src=x>", "a|b"]
WORDS += ["[x](javascript:alert(1))", "![x](http://192.0.2.1/x.png)", "`a`", "\x1b[2J", "line\nline", "100%"]


def strange():
    made = []
    for k, word in enumerate(WORDS):
        own = config(seed=0, choices__weighting=word, command=word)
        made.append(record(own, card(sampler=word), fd_lite0=1.0 + k, fd_lite0_floor=0.5))
    return Study.of(made)


def test_they_stay_words(tmp_path, capsys):
    study = strange()
    write_report(study, tmp_path)
    for name in ("results.csv", "results-columns.csv"):
        with (tmp_path / name).open(newline="") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert not [cell for cell in cells if re.match("[=@+\t\r-]", cell) and not re.fullmatch(r"[-+]?[\d.e-]+", cell)]
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse((tmp_path / "ranking.md").read_text())
    found = {inner.type for token in tokens for inner in [token, *(token.children or [])]}
    assert not found & {"html_block", "html_inline", "link_open", "image", "code_inline"}
    assert sum(token.type == "tr_open" for token in tokens) == 1 + len(WORDS)
    page = (tmp_path / "index.html").read_text()
    assert not re.search("<script>alert|<img src=x", page)
    _, figure = next(figures(study))
    print_figure(figure, tmp_path, "quality", ["svg"])
    assert r"$\frac{1}$" in (tmp_path / "quality.svg").read_text()
    for table in ranking_tables(study):
        print_ranking(table)
    assert "\x1b[2J" not in capsys.readouterr().out
