"""Hostile files in a run, by the hundred: what is executed, leaks, hangs, or ends in a traceback.

    cd tests && python -m benchmarks.strangers [--lies=400] [--every=1] [--seed=0]

Each case changes a copy of a sound run, which is then reported and made ready to be sampled. Exits with 1 if any case
does more than pass or be refused in one line.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from helpers import hostile


def main(argv: Sequence[str] | None = None) -> list[str]:
    """Try all, print the counts, and return a line for each fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lies", type=int, default=400, help="single values that are changed (default: 400)")
    parser.add_argument("--every", type=int, default=1, help="which of the entries in place of files (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of values (default: 0)")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="strangers-") as folder:
        outside, scratch = Path(folder, "outside"), Path(folder, "runs")
        outside.mkdir()
        (outside / "secret").write_text(hostile.SECRET)
        template = hostile.sound_run(Path(folder, "sent"))
        found = hostile.faults(template, scratch, outside, args.every, args.lies, args.seed)
    counts = ", ".join(f"{n} {ended}" for ended, n in sorted(found.counts.items()))
    lines: list[str] = found.lines
    print("\n".join([*lines, f"{sum(found.counts.values())} readings: {counts}; {len(lines)} faults"]))
    return lines


if __name__ == "__main__":
    sys.exit(bool(main()))
