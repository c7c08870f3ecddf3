"""`difflab runs`: what runs there are, what one of them is, in what two differ; and how one is removed.

difflab runs [list] [--json]     a line each: state, budget, best score, size, age, the settings that vary
difflab runs show RUN            its settings that decide the weights, and what it was measured to
difflab runs diff A B            the settings in which two runs differ
difflab runs rm RUN ...          remove runs with their locks; each by its whole name
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
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
    made.add_argument("runs", nargs="*", metavar="RUN", help="a run's folder, or the unique beginning of its name")
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
            listed(words.runs_dir, words.json)
        elif words.what == "rm":
            removed(words.runs_dir, words.runs)
        else:
            from difflab.experiment.store.run import find

            wanted = 2 if words.what == "diff" else 1
            if len(words.runs) != wanted:
                raise ValueError(f"difflab runs {words.what} takes {wanted} of the runs, not {len(words.runs)}")
            {"show": shown, "diff": compared}[words.what]([find(words.runs_dir, run) for run in words.runs], words.json)


def listed(runs_dir: Path, as_json: bool) -> None:
    """Print all runs, the newest last; those that cannot be read are named with the reason."""
    from difflab.experiment.store.run import Run
    from difflab.experiment.store.stored import check_entries

    rows: list[dict[str, Any]] = []
    for path in sorted(runs_dir.glob("*/config.yaml"), key=lambda path: path.lstat().st_mtime):
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
        best = f"{row['score']} {row['best']:.4g}" if row["score"] else ""
        sizes = f"{row['bytes'] / 2**20:.0f} MiB", age(row["age"])
        cells = (name, row["state"], f"{row['images']:,}", best, *sizes)
        table.add_row(*map(escaped, cells))
    printed(table)


def row_of(run: Run) -> dict[str, Any]:
    """What a line says of a run."""
    from difflab.experiment.store.stored import entries
    from difflab.experiment.store.typed import settings_of, words_of

    config = run.config
    choices = config.get("choices", {})
    score, best = best_of(run)
    return {
        "run": run.folder.name,
        "state": state_of(run, config["images"]),
        "paradigm": choices.get("paradigm", ""),
        "data": choices.get("data", ""),
        "images": config["images"],
        "score": score,
        "best": best,
        "bytes": sum(entry.stat(follow_symlinks=False).st_size for entry in entries(run.folder) if entry.is_file()),
        "age": round(time.time() - (run.folder / "config.yaml").stat().st_mtime),
        "settings": settings_of(config),
        "words": words_of(config),
    }


def state_of(run: Run, images: int) -> str:
    """`finished`, or how much of its budget a run has seen."""
    from difflab.experiment.store.stored import read_lines

    if run.result is not None:
        return "finished"
    seen = 0
    for line in reversed(read_lines(run.folder / "metrics.jsonl")):
        try:
            seen = int(json.loads(line)["images_seen"])
            break
        except (ValueError, TypeError, LookupError, RecursionError):  # a line that was cut off
            continue
    return f"{seen / max(images, 1):.0%} trained"


def best_of(run: Run) -> tuple[str, float | None]:
    """The first score with a floor that its evaluations have, and the best value of it."""
    from difflab.experiment.store.stored_evaluation import read_evaluation
    from difflab.metric.direction import higher_is_better

    found = [each["metrics"] for path in sorted(run.evaluations.glob("*.json")) if (each := read_evaluation(path))]
    scores = [key for metrics in found for key in metrics if f"{key}_floor" in metrics and key != "n"]
    if not scores:
        return "", None
    values = [metrics[scores[0]] for metrics in found if scores[0] in metrics]
    return scores[0], (max if higher_is_better(scores[0]) else min)(values)


def distinguish(rows: Sequence[dict[str, Any]]) -> None:
    """Give each row, as `apart`, the settings in which it differs from others of its paradigm and data."""
    from difflab.experiment.store.typed import distinctions

    for row in rows:
        alike = [each for each in rows if (each["paradigm"], each["data"]) == (row["paradigm"], row["data"])]
        row["apart"] = distinctions([each["words"] for each in alike])[alike.index(row)]


def print_json(value: object) -> None:
    """Print plain values as JSON."""
    from difflab.experiment.store.typed import as_typed

    print(json.dumps(as_typed(value), indent=2, allow_nan=False))


def shown(runs: Sequence[Run], as_json: bool) -> None:
    """Print one run: where it lies, its state, its settings, and its evaluations."""
    (run,) = runs
    row = row_of(run)
    if as_json:
        print_json({**row, "folder": str(run.folder)})
        return
    print(f"run:     {escaped(str(run.folder))}")
    print(f"state:   {row['state']}, of {row['images']:,} images")
    print(f"command: {escaped(str(run.config.get('command', '')))}")
    for key, value in row["settings"].items():
        print(f"  {escaped(key)} = {escaped(str(value))}")


def compared(runs: Sequence[Run], as_json: bool) -> None:
    """Print the settings in which two runs differ."""
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

    folders = [runs_dir / name for name in names]
    for name, folder in zip(names, folders, strict=True):
        if Path(name).name != name or folder.is_symlink() or not (folder / "config.yaml").is_file():
            raise ValueError(f"{name} is no run in {runs_dir}/: `difflab runs` lists them; give the whole name")
    if not folders:
        raise ValueError("difflab runs rm RUN ...: name the runs that are to be removed")
    for folder in folders:
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
