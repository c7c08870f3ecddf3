"""Every paradigm on points in the plane, side by side in one figure, with Wasserstein-2 beside the two-sample floor.

    python tests/benchmarks/toy_presets.py OUT eight_gaussians checkerboard

Needs matplotlib. The figure is OUT/toy.png; the runs lie in OUT/runs, so that the command can be issued again.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from presets import call, presets, recipe

mpl.use("agg")
from matplotlib import pyplot as plt

N = 2000


def panel(axis: plt.Axes, points: np.ndarray, title: str) -> None:
    """Points in the plane."""
    axis.scatter(*points.T, s=0.6, linewidths=0)
    axis.set(xlim=(-2.6, 2.6), ylim=(-2.6, 2.6), xticks=[], yticks=[], aspect="equal")
    axis.set_title(title, fontsize=7)


def main() -> None:
    """Train what is missing, draw."""
    folder, *sets = sys.argv[1:]
    out = Path(folder).resolve()
    names = presets()
    figure, axes = plt.subplots(2 * len(sets), -(-len(names) // 2), figsize=(14, 3.8 * len(sets)), squeeze=False)
    for row, data in enumerate(sets):
        cells = axes[2 * row : 2 * row + 2].flatten()
        for axis in cells[len(names) :]:
            axis.axis("off")
        for axis, preset in zip(cells, names, strict=False):
            words = ["experiment=toy", f"data={data}", f"paradigm={preset}", f"runs_dir={out / 'runs'}", "logger=local"]
            said = call("train", *words)
            run = Path(next(line.split()[1] for line in said.splitlines() if line.startswith("run:")))
            own = [f"run={run}", words[3], *recipe(preset, "experiment=toy")]  # two presets may share their weights
            found = json.loads(Path(call("evaluate", *own).split()[-1]).read_text())["metrics"]
            line = f"W2 {found['w2']:.3f} (floor {found['w2_floor']:.3f})"
            keys = [key for key in ("bits_per_dim", "bits_per_dim_bound") if key in found]
            bits = " ".join(f"{found[key]:.3f}" for key in keys) or "-"
            print(f"{data} {preset}: {line}, bits/dim {bits}", flush=True)
            call("sample", *own, f"n={N}", f"out={out / data / preset}")
            panel(axis, np.load(out / data / preset / "samples.npz")["arr_0"], f"{data}\n{preset}\n{line}")
    figure.tight_layout()
    figure.savefig(out / "toy.png", dpi=130)


if __name__ == "__main__":
    main()
