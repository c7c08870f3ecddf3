"""A matrix of faults that happen for real: what is expected of each, what is seen, and the seconds it takes.

    cd tests && python -m benchmarks.faults [GROUP ...] [--points=100] [--seed=0]

A job that is stopped at any moment goes on by the same command and comes to what the uninterrupted one comes to, bit by
bit; a disk, a share, a clock or a number that fails is told in one line. Exits with 1 if anything else is seen. Some
cases mount file systems, which needs root, and are skipped without.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.fault import damage, disks, moments, points, processes, server
from benchmarks.fault.case import Case

GROUPS: dict[str, Callable[[argparse.Namespace], Iterable[Case]]] = {
    "points": lambda args: points.cases(args.points, args.seed),
    "moments": lambda args: moments.cases(),
    "processes": lambda args: processes.cases(),
    "disks": lambda args: disks.disk_cases(),
    "places": lambda args: disks.place_cases(),
    "files": lambda args: damage.file_cases(),
    "numbers": lambda args: damage.number_cases(),
    "server": lambda args: server.cases(),
}
SKIPPED = "skipped"  # how a case begins that cannot be tried here


def parser() -> argparse.ArgumentParser:
    """The groups and the number of random points."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)} (default: all)")
    made.add_argument("--points", type=int, default=100, help="random kill points (default: 100)")
    made.add_argument("--seed", type=int, default=0, help="of the random points (default: 0)")
    made.add_argument("--only", default="", help="cases whose name has this")
    return made


def tried(case: Case) -> str:
    """What is seen of a case, in a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="faults-")).resolve()
    try:
        return case.seen(folder)
    except Exception as error:
        traceback.print_exc()
        return f"{type(error).__name__}: {error}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main(words: Sequence[str] | None = None) -> list[tuple[str, str, str]]:
    """Try all cases and print them; what differs, as (case, expected, seen)."""
    args = parser().parse_args(words)
    if unknown := [group for group in args.groups if group not in GROUPS]:
        parser().error(f"{', '.join(unknown)}: the groups are {', '.join(GROUPS)}")
    os.environ["WANDB_MODE"] = "offline"
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell has ignored in the background
    table = Table("case", "expected", "seen", "seconds", title="faults")
    different = []
    for group in args.groups or GROUPS:
        for case in GROUPS[group](args):
            if args.only not in case.name:
                continue
            start = time.monotonic()
            seen = tried(case)
            seconds = f"{time.monotonic() - start:.1f}"
            mark = ""
            if seen != case.expected and not seen.startswith(SKIPPED):
                different.append((case.name, case.expected, seen))
                mark = "  <-- differs"
            print(f"{case.name}: {seen} ({seconds} s){mark}", flush=True)
            table.add_row(*map(escape, (case.name, case.expected, seen, seconds)))
        table.add_section()
    Console(width=160).print(table)
    print(f"{len(different)} of {table.row_count} differ")
    return different


if __name__ == "__main__":
    sys.exit(bool(main()))
