"""`difflab runs`: what runs there are, what one of them is, in what two differ; and how one is removed.

difflab runs list [RUN ...]      a line each: state, budget, best score, size, age, the settings that vary
difflab runs show RUN            its settings that decide the weights, and what it was measured to
difflab runs diff A B            the settings in which two runs differ
difflab runs rm RUN ...          remove runs with their locks; each by its whole name
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from difflab.experiment.store.run import Run

HEADS = ("state", "images", "best", "size", "age")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        "difflab-runs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("what", nargs="?", default="list", choices=["list", "show", "diff", "rm"], help="(list)")
    made.add_argument("runs", nargs="*", metavar="RUN", help="a run's folder, or the beginning of its name")
    made.add_argument("--runs-dir", type=Path, default=Path("runs"), help="the folder of the runs (runs)")
    made.add_argument("--json", action="store_true", help="plain values for programs")
    return made


def main(argv: Sequence[str] | None = None) -> None:
    """The console script; `argv` begins with the name of the program."""
    words = parser().parse_intermixed_args(argv and argv[1:])
    from difflab.cli.ending import ends_in_one_line
    from difflab.experiment.parts.errors import user_errors

    with ends_in_one_line("difflab-runs"), user_errors():
        if words.what == "list":
            listed(words.runs_dir, words.runs, words.json)
        elif words.what == "rm":
            removed(words.runs_dir, words.runs)
        else:
            from difflab.experiment.store.run import find

            wanted = 2 if words.what == "diff" else 1
            if len(words.runs) != wanted:
                raise ValueError(f"difflab runs {words.what} takes {wanted} of the runs, not {len(words.runs)}")
            {"show": shown, "diff": compared}[words.what]([find(words.runs_dir, run) for run in words.runs], words.json)


def listed(runs_dir: Path, beginnings: Sequence[str], as_json: bool) -> None:
    """Print all runs or those whose names begin so, the newest last; what cannot be read is named with the reason.

    Raises ValueError where no name begins so.
    """
    from difflab.cli.run_rows import distinguish, row_of
    from difflab.experiment.store.run import Run
    from difflab.experiment.store.stored import check_entries

    paths = sorted(runs_dir.glob("*/config.yaml"), key=lambda path: path.lstat().st_mtime)
    for beginning in beginnings:
        if not any(path.parent.name.startswith(beginning) for path in paths):
            raise ValueError(f"{beginning}: no run in {runs_dir}/ begins so; `difflab runs` lists them")
    rows: list[dict[str, Any]] = []
    for path in (path for path in paths if path.parent.name.startswith(tuple(beginnings) or "")):
        try:
            rows.append(row_of(Run(check_entries(path.parent))))
        except (ValueError, OSError) as error:
            print_left_out(error)
    distinguish(rows)
    if as_json:
        shown = [{key: value for key, value in row.items() if key not in ("settings", "words")} for row in rows]
        print_json(shown)
        return
    if not rows:
        print(f"no runs in {runs_dir}/: difflab-train makes one")
        return
    from rich.table import Column, Table

    table = Table(Column("run, and settings that vary", overflow="fold"), *HEADS, box=None)
    for row in rows:
        name = "\n".join([row["run"], *(f"  {word}" for word in row["apart"])])
        best = f"{row['score']} {row['best']:.4g}" if row["best"] is not None else ""
        sizes = f"{row['bytes'] / 2**20:.0f} MiB", age(row["age"])
        cells = (name, row["state"], f"{row['images']:,}", best, *sizes)
        table.add_row(*map(escaped, cells))
    printed(table)


def print_json(value: object) -> None:
    """Print plain values as JSON."""
    from difflab.experiment.store.typed import as_typed

    print(json.dumps(as_typed(value), indent=2, allow_nan=False))


def shown(runs: Sequence[Run], as_json: bool) -> None:
    """Print one run: where it lies, its state, its settings, and its evaluations."""
    from difflab.cli.run_rows import evaluations_of, row_of

    (run,) = runs
    row, evaluations = row_of(run), evaluations_of(run)
    if as_json:
        print_json({**row, "folder": str(run.folder), "evaluations": evaluations})
        return
    print(f"run:     {escaped(str(run.folder))}")
    print(f"state:   {row['state']}, of {row['images']:,} images")
    print(f"command: {escaped(str(run.config.get('command', '')))}")
    for key, value in row["settings"].items():
        print(f"  {escaped(key)} = {escaped(str(value))}")
    for each in evaluations:
        print(f"measured: {escaped(each['command'])}")
        for name, value in each["metrics"].items():
            floor = each["metrics"].get(f"{name}_floor")
            if floor is not None and name != "n":
                print(f"  {name} {value:.4g}, real samples {floor:.4g}")


def compared(runs: Sequence[Run], as_json: bool) -> None:
    """Print the settings in which two runs differ."""
    from difflab.cli.run_rows import row_of

    first, second = (row_of(run)["settings"] for run in runs)
    keys = [key for key in dict.fromkeys((*first, *second)) if first.get(key) != second.get(key)]
    if as_json:
        print_json({key: [first.get(key), second.get(key)] for key in keys})
        return
    if not keys:
        print("no setting that decides the weights differs")
        return
    from rich.table import Table

    table = Table("setting", *(escaped(run.folder.name) for run in runs), box=None)
    for key in keys:
        table.add_row(escaped(key), *(escaped(str(each[key])) if key in each else "" for each in (first, second)))
    printed(table)


def removed(runs_dir: Path, names: Sequence[str]) -> None:
    """Remove runs, their locks with them. Raises ValueError, before any is removed, for a name that is no run's."""
    from difflab.experiment.machine.lock import locked
    from difflab.experiment.store.run import SUFFIX, stamp

    folders = {name: runs_dir / name for name in names}
    for name, folder in folders.items():
        if Path(name).name != name or folder.is_symlink() or not (folder / "config.yaml").is_file():
            raise ValueError(f"{name} is no run in {runs_dir}/: `difflab runs` lists them; give the whole name")
    if not folders:
        raise ValueError("difflab runs rm RUN ...: name the runs that are to be removed")
    for folder in folders.values():
        claim = runs_dir / (stamp(folder / "config.yaml")[:SUFFIX] or folder.name)
        with locked(claim, f"{folder} is being trained"):
            shutil.rmtree(folder)
        claim.with_name(f".{claim.name}.lock").unlink(missing_ok=True)
        print(f"removed: {escaped(str(folder))}")


def print_left_out(error: Exception) -> None:
    """Name a run that is left out, on stderr."""
    print(f"difflab-runs: left out: {escaped(str(error))}", file=sys.stderr)


def escaped(text: str) -> str:
    """A stranger's words for a terminal."""
    from difflab.experiment.parts.errors import printable

    return printable(text)


def printed(table: Any) -> None:  # noqa: ANN401  # of rich, which loads late
    """Print a table as wide as the terminal; into a pipe as wide as it is."""
    from rich.console import Console

    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = 500
    console.print(table)


def age(seconds: float) -> str:
    """A time that has passed, in its largest unit."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds:.0f} s"


if __name__ == "__main__":
    main()
