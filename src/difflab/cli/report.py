"""`difflab-report`: a page, tables and figures of all evaluations, or of those of some runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from difflab.experiment.parts.search_path import Outside


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser("difflab-report", description="Compare evaluated runs.")
    made.add_argument(
        "runs", nargs="*", metavar="RUN", help="a run's folder, or the unique beginning of its name (default: all runs)"
    )
    made.epilog = "extensions=[NAME] among the runs switches an extension on, for runs that need it."
    made.add_argument("--runs-dir", type=Path, default=Path("runs"), help="the folder of the runs (runs)")
    made.add_argument("--out", type=Path, default=Path("report"), help="the folder to write to (report)")
    made.add_argument("--metric", help="the metric to rank by, as fd_lite0 (the first distance that was measured)")
    made.add_argument("--target", type=float, help="the quality to reach, by that metric (twice its floor)")
    made.add_argument("--title", default="", help="the heading of the page (the name of the study)")
    made.add_argument("--figures", action="store_true", help="also draw the figures for print, as PDF and SVG")
    made.add_argument("--wandb", action="store_true", help="also send the comparison to W&B")
    made.add_argument("--project", default="difflab", help="the project on W&B (difflab)")
    made.add_argument("--entity", help="the user or team on W&B (the default of your account)")
    return made


def main(argv: Sequence[str] | None = None) -> None:
    """The console script; `argv` begins with the name of the program. Libraries load after the words are parsed."""
    words = parser().parse_args(argv and argv[1:])
    from difflab.cli.ending import ends_in_one_line
    from difflab.experiment.parts.errors import user_errors
    from difflab.experiment.parts.search_path import import_extensions, using
    from difflab.report.output import Options, write_report
    from difflab.report.study import load_study
    from difflab.report.tables import print_ranking, ranking_tables

    extensions = [word for word in words.runs if word.startswith("extensions=")]
    with ends_in_one_line("difflab-report"), user_errors(), using(switched_on(extensions)):
        import_extensions()
        study = load_study(words.runs_dir, [run for run in words.runs if run not in extensions], words.metric)
        page = write_report(study, words.out, Options(words.metric, words.target, words.title, words.figures))
        for table in ranking_tables(study, words.metric, words.target):
            print_ranking(table)
        print(f"page: {page}", flush=True)
        if not words.figures:
            print("figures for print: difflab-report --figures")
        if words.wandb:
            from difflab.report.workspace import push

            for place in push(study, words.out, words.project, words.entity):
                print(place)


def switched_on(words: Sequence[str]) -> Outside:
    """The extensions that words name. Their grammar is Hydra's, which loads only where there are any."""
    from difflab.experiment.parts.search_path import Outside

    if not words:
        return Outside((), ())
    from difflab.cli.extensions import outside_of

    return outside_of(words)


if __name__ == "__main__":
    main()
