"""`difflab-report`: what was measured, as one page, tables and figures."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from difflab.cli.command import ends_in_one_line, words_of
from difflab.experiment.config import suggestion
from difflab.experiment.errors import user_errors
from difflab.experiment.run import Run, find
from difflab.report.figures import draw
from difflab.report.page import write
from difflab.report.study import Study, gather, refuse
from difflab.report.tables import Ranked, latex, markdown, rankings, write_csv


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser("difflab-report", description="Hold evaluated runs against each other.")
    made.add_argument(
        "runs", nargs="*", metavar="RUN", help="a run's folder, or the unique beginning of its name; else all"
    )
    made.add_argument("--runs-dir", type=Path, default=Path("runs"), help="where runs lie (runs)")
    made.add_argument("--out", type=Path, default=Path("report"), help="the folder to write to (report)")
    made.add_argument("--metric", help="what to rank by: fd_lite0, or what else was measured (its first distance)")
    made.add_argument("--wandb", action="store_true", help="send the comparison to W&B, too")
    made.add_argument("--project", default="difflab", help="of W&B (difflab)")
    made.add_argument("--entity", help="of W&B (your own, or the team that is set up)")
    return made


def chosen(runs_dir: Path, names: Sequence[str]) -> list[Run]:
    """The runs of these names, or all there are. Raises ValueError for a name that stands for none."""
    if names:
        return list(dict.fromkeys(find(runs_dir, name) for name in names))
    return [Run(path.parent) for path in sorted(runs_dir.glob("*/config.yaml"))]


def skip(error: ValueError) -> None:
    """Say what is left out."""
    print(f"difflab-report: left out: {error}", file=sys.stderr)


def study_of(runs: Sequence[Run], metric: str | None, unreadable: Callable[[ValueError], None] = refuse) -> Study:
    """The study of the runs. Raises ValueError if nothing of them was measured, or not by this metric."""
    study = Study.of(gather(runs, unreadable))
    valid = list(dict.fromkeys(key for group in study.groups for key in group.metrics))
    if metric is not None and metric not in valid:
        raise ValueError(f"--metric {metric} was not measured; {suggestion(metric, valid)}")
    return study


def report(study: Study, out: Path, metric: str | None) -> Path:
    """Write the page, the tables and the figures; return the page's path."""
    out.mkdir(parents=True, exist_ok=True)
    write_csv(study, out / "results.csv")
    (out / "ranking.md").write_text(markdown(study, metric))
    (out / "ranking.tex").write_text(latex(study, metric))
    draw(study, out / "figures", metric)
    return write(study, out)


def show(ranked: Ranked, console: Console) -> None:
    """Print a ranking."""
    rows = ranked.rows
    table = Table(*rows[0], title=ranked.title)
    for row, following in zip_longest(rows, rows[1:]):
        words = (escape(text.replace("**", "")) for text in row.values())
        last = following is not None and following["NFE"] != row["NFE"]
        table.add_row(*words, style="bold" if row["against the best"] == "best" else "", end_section=last)
    console.print(table)
    for note in ranked.notes:
        console.print(note, markup=False, highlight=False)


def main(argv: Sequence[str] | None = None) -> None:
    """The console script; `argv` begins with the name of the program."""
    program, given = words_of(argv)
    words = parser().parse_args(given)
    with ends_in_one_line(program), user_errors():
        study = study_of(chosen(words.runs_dir, words.runs), words.metric, refuse if words.runs else skip)
        page = report(study, words.out, words.metric)
        console = Console(width=None if Console().is_terminal else 200)
        for ranked in rankings(study, words.metric):
            show(ranked, console)
        print(f"page: {page}", flush=True)
        if words.wandb:
            from difflab.report.workspace import push

            for place in push(study, words.out, words.project, words.entity):
                print(place)


if __name__ == "__main__":
    main()
