"""Quality against network evaluations for every deterministic solver on trained runs.

    python tests/benchmarks/solvers.py OUT N RUN:GRID [RUN:GRID ...]

For each run on its grid, from the same N noises: the Frechet distance to held-out images, and the root mean square
distance to the probability flow itself, followed by Heun's method in 200 steps. What is done already is kept in OUT;
the figure is OUT/solvers.png. Needs matplotlib.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
import yaml
from rich.console import Console
from rich.table import Table

from difflab.data.images import to_stored
from difflab.experiment.build import build
from difflab.experiment.config import conf_dir
from difflab.experiment.hardware import autocast, settle_precision
from difflab.experiment.protocol import Protocol
from difflab.experiment.recipe import Recipe, balanced
from difflab.experiment.run import Run, find
from difflab.experiment.weights import load_denoiser
from difflab.guidance.base import Chain
from difflab.metric.reference import measure
from difflab.sampler.base import Sampler
from difflab.sampler.generate import generate
from difflab.sampler.grid import Grid
from difflab.sampler.heun import Heun

mpl.use("agg")
from matplotlib import pyplot as plt

EVALUATIONS = (5, 8, 10, 15, 20, 30, 50, 100)
REFERENCE = 399


def option(group: str, name: str) -> Any:
    """The object of one option of a group."""
    return build(yaml.safe_load(Path(conf_dir(), group, f"{name}.yaml").read_text()))


def solvers() -> dict[str, Sampler]:
    """The deterministic samplers that take their steps from a grid."""
    every = {path.stem: option("sampler", path.stem) for path in sorted(Path(conf_dir(), "sampler").glob("*.yaml"))}
    return {name: s for name, s in every.items() if not s.stochastic and s.evaluations is not None}


def scores(run: Run, grid: Grid, n: int, path: Path) -> dict[str, dict[str, dict[str, float]]]:
    """By solver and NFE, from the file at `path` or by measuring what is missing."""
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    denoiser, _ = load_denoiser(run)
    data = build(run.config["data"])
    protocol = Protocol.of(run.config["protocol"], torch.device("cpu"))
    labels = balanced(n, data.classes)
    precision = settle_precision("auto", torch.device("cpu"))

    def draw(sampler: Sampler, nfe: int) -> torch.Tensor:
        recipe = Recipe(sampler, grid, Chain(), nfe, precision=precision)
        recipe.dry_run(denoiser)
        return recipe.draw(denoiser, labels, seed=0).x

    with autocast(torch.device("cpu"), "fp32"):
        flow = generate(denoiser, Heun(), grid, nfe=REFERENCE, labels=labels).images
    for name, sampler in solvers().items():
        for nfe in map(str, EVALUATIONS):
            if nfe in found.setdefault(name, {}):
                continue
            try:
                x = draw(sampler, int(nfe))
            except ValueError as error:
                print(f"{run.folder.name} {name} nfe={nfe}: {error}")
                found[name][nfe] = {}
                continue
            x = x.nan_to_num(0.0, 0.0, 0.0).clamp(-10, 10)
            values = measure(protocol.extractor, to_stored(x), data.images.test, data.images.train, path.parent)
            found[name][nfe] = {"error": (x - flow).square().mean().sqrt().item(), **values}
            path.write_text(json.dumps(found))
        print(run.folder.name, name, flush=True)
    return found


def panel(axis: plt.Axes, found: dict[str, Any], key: str, title: str, floor: float | None) -> None:
    """One score of every solver against NFE."""
    for (name, by_nfe), mark in zip(found.items(), "osv^<>Dphx+*d1234" * 3, strict=False):
        points = [(int(nfe), values[key]) for nfe, values in by_nfe.items() if values]
        if points:
            width = 2.5 if name == "ddim" else 1
            axis.plot(*zip(*points, strict=True), marker=mark, markersize=4, linewidth=width, label=name)
    if floor is not None:
        axis.axhline(floor, color="0.5", linestyle=":")
    axis.set(xscale="log", yscale="log", xlabel="NFE", ylabel=key, title=title)
    axis.set_xticks(EVALUATIONS, [str(nfe) for nfe in EVALUATIONS])
    axis.minorticks_off()


def main() -> None:
    """Measure, tabulate, draw."""
    folder, n, *names = sys.argv[1:]
    out = Path(folder).resolve()
    out.mkdir(parents=True, exist_ok=True)
    figure, axes = plt.subplots(len(names), 2, figsize=(15, 5.5 * len(names)), squeeze=False)
    for row, (name, _, grid) in enumerate(name.partition(":") for name in names):
        run = find(Path("runs"), name)
        found = scores(run, option("grid", grid), int(n), out / f"{run.folder.name}-{grid}-{n}.json")
        for key in ("fd_lite0", "error"):
            table = Table(f"{run.folder.name}, {grid}: {key}", *map(str, EVALUATIONS))
            for solver, by_nfe in found.items():
                cells = [by_nfe[str(nfe)].get(key) for nfe in EVALUATIONS]
                table.add_row(solver, *("-" if cell is None else f"{cell:.3g}" for cell in cells))
            Console(width=140).print(table)
        floor = next(v["fd_lite0_floor"] for by_nfe in found.values() for v in by_nfe.values() if v)
        panel(axes[row][0], found, "fd_lite0", f"{run.folder.name}, n = {n}: Frechet distance", floor)
        panel(axes[row][1], found, "error", "distance to the probability flow of the same network", None)
        axes[row][1].legend(fontsize=7, ncols=2)
    figure.tight_layout()
    figure.savefig(out / "solvers.png", dpi=110)


if __name__ == "__main__":
    main()
