"""The tables for papers: what LaTeX needs of them, their labels, footnotes and alignment."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from difflab.report.paper import LONGEST, at_point, escaped, latex
from difflab.report.study import Study
from helpers.studies import NFES, grid


@pytest.fixture(scope="module")
def sources(study, tmp_path_factory):
    """A short table, one of two protocols, and one that is cut by NFE."""
    folder = tmp_path_factory.mktemp("paper")
    two = Study.of([*grid(folder, nfes=(5,)), *grid(folder, nfes=(5,), n_generated=10_000)])
    long = Study.of(grid(folder, nfes=tuple(range(5, 5 + LONGEST // 6 + 1))))
    return [latex(study, "fd_lite0"), latex(two), latex(long)]


def environments(tex):
    return re.findall(r"\\(begin|end)\{(\w+)\}", tex)


def test_environments_and_braces_are_balanced(sources):
    for tex in sources:
        open_ones = []
        for word, name in environments(tex):
            if word == "begin":
                open_ones.append(name)
            else:
                assert open_ones.pop() == name
        assert open_ones == []
        bare = re.sub(r"\\[{}]", "", tex)
        assert bare.count("{") == bare.count("}")


def test_each_table_has_a_label_of_its_own_and_a_footnote_with_the_card(sources):
    for tex, tables in zip(sources, (1, 2, LONGEST // 6 + 1), strict=True):
        labels = re.findall(r"\\label\{(.+?)\}", tex)
        assert len(labels) == len(set(labels)) == tex.count(r"\begin{table}") == tables
        assert tex.count(r"\footnote{Protocol: data fashion16, ") == tables


def test_metrics_stand_in_words_and_rows_have_as_many_entries_as_the_heading(sources):
    for tex in sources:
        assert "fd_lite0" not in re.sub(r"\\label\{.+?\}", "", tex)
        for table in tex.split(r"\toprule")[1:]:
            heading, *rows = [line for line in table.partition(r"\bottomrule")[0].splitlines() if "&" in line]
            assert "Fréchet distance" in heading
            wide = len(re.findall(r"\\multicolumn\{2\}", heading))
            assert {row.count("&") for row in rows} == {heading.replace(r"\&", "").count("&") + wide}


def test_numbers_are_cut_at_their_point():
    for text, columns in (
        ("5.31 (5.01, 5.61)", "5 & .31 (5.01, 5.61)"),
        ("41 ± 14", r"41 & \ $\pm$ 14"),
        ("-0.003", "$-$0 & .003"),
        ("276", "276 & "),
    ):
        assert at_point(text) == columns
    assert at_point("1.2", bold=True) == r"\textbf{1} & \textbf{.2}"


def test_every_special_character_is_escaped():
    assert escaped(r"a_b $x^2 ~ \c") == r"a\_b \$x\textasciicircum{}2 \textasciitilde{} \textbackslash{}c"


def test_the_best_of_each_nfe_is_bold(sources):
    bold = [line for line in sources[0].splitlines() if r"\textbf" in line]
    assert len(bold) == len(NFES)
    assert all(r"rectified\_flow & heun" in line for line in bold)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX is installed")
def test_latex_compiles_them(sources, tmp_path):
    document = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n%s\n\\end{document}\n"
    for k, tex in enumerate(sources):
        (tmp_path / f"{k}.tex").write_text(document % tex)
        words = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", f"{k}.tex"]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
        assert done.returncode == 0, done.stdout[-2000:]
