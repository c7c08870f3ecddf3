"""How often a ranking calls an equal cell worse, and how often a worse one, in simulated studies.

    cd tests && python -m benchmarks.verdicts [--studies=2000] [--sizes 6x3 18x3]

A study has values 5 exp(0.05 z) with noise z of each cell and of each seed. "false" is the share of studies in which
any of equal cells is called worse; it should be at most 5 %. "power" is the share of studies in which the last cell,
whose mean is 6 standard deviations of the mean noise above the others', is called worse. "page": of 4 NFE with
independent noise, the share of studies with any false verdict at any of them. Takes about 15 minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from helpers.verdicts import NOISE, page, relative_noise, study, worse

LAWS = {
    "equal noise": ("equal", 0),
    "half ten times quieter": ("half", 0),
    "from 1 to 4": ("range4", 0),
    "one 4 times noisier": ("one4", 0),
    "one 10 times noisier": ("one10", 0),
    "one seed collapsed": ("equal", 1),
    "a seed of two cells collapsed": ("equal", 2),
}
SIZES = ("3x2", "3x3", "6x2", "6x3", "18x3", "6x5")
SHIFT = 6.0
NFES = 4


def main(words: Sequence[str] | None = None) -> Table:
    """Print the table, and return it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--sizes", nargs="+", default=SIZES, help="cells x seeds")
    chosen = parser.parse_args(words)
    studies: int = chosen.studies
    table = Table("cells", "seeds", "noise", "false, %", "power, %", title=f"{studies} studies each")
    for size in chosen.sizes:
        cells, seeds = map(int, size.split("x"))
        for name, (law, collapsed) in LAWS.items():
            rng = np.random.default_rng(0)
            false = sum(bool(worse(study(rng, cells, seeds, law, collapsed))) for _ in range(studies))
            found = 0
            for _ in range(studies):
                y = study(rng, cells, seeds, law, collapsed)
                y[-1] *= np.exp(SHIFT * NOISE * relative_noise(law, cells).mean())
                found += cells - 1 in worse(y)
            table.add_row(f"{cells}", f"{seeds}", name, f"{100 * false / studies:.1f}", f"{100 * found / studies:.0f}")
        for law in ("equal", "half"):
            rng = np.random.default_rng(0)
            false = sum(bool(page([study(rng, cells, seeds, law) for _ in range(NFES)])) for _ in range(studies))
            table.add_row(f"{cells}", f"{seeds}", f"page of {NFES} NFE, {law}", f"{100 * false / studies:.1f}", "")
    Console().print(table)
    return table


if __name__ == "__main__":
    main()
