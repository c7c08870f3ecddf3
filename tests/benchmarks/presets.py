"""Every paradigm's preset under one budget: the same images seen, the same backbone, the same seed.

    python tests/benchmarks/presets.py OUT fashion16 40000 [PRESET ...]

Trains each preset once, measures it at each NFE with the preset's own sampler, and prints a table. What is done already
is kept in OUT, so that the command can be stopped, issued again, and split over processes by presets.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from rich.console import Console
from rich.table import Table

import difflab.cli.train  # noqa: F401  # registers the types of its configuration
from difflab.experiment.config import conf_dir

EVALUATIONS = (10, 20, 50, 100)
SCORES = ("fd_lite0", "kid_lite0")


def presets() -> list[str]:
    """All of them."""
    return sorted(path.stem for path in Path(conf_dir(), "paradigm").glob("*.yaml"))


def call(command: str, *words: str) -> str:
    """What a command of difflab says."""
    done = subprocess.run([sys.executable, "-m", f"difflab.{command}", *words], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{command} {' '.join(words)}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done.stdout


def recipe(preset: str, *words: str) -> list[str]:
    """The sampler, grid and guidance of a preset, as overrides: a run's own may be those of another one."""
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        choices = compose("train", [f"paradigm={preset}", *words], return_hydra_config=True).hydra.runtime.choices
    return [f"{group}={choices[group]}" for group in ("sampler", "grid", "guidance")]


def measured(out: Path, preset: str, data: str, images: str, n: int = 1000) -> dict[str, Any]:
    """What a preset reaches, from the file in `out` or by doing what is missing."""
    path = out / f"{preset}.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    runs = f"runs_dir={out / 'runs'}"
    if "run" not in found:
        said = call(
            "train", f"paradigm={preset}", f"data={data}", f"images={images}", runs, "logger=local", "protocol.n=0"
        )
        run = next(line.split()[1] for line in said.splitlines() if line.startswith("run:"))
        found = {"run": run, "seconds": json.loads(Path(run, "result.json").read_text())["training"]["seconds"]}
        path.write_text(json.dumps(found))
    for nfe in EVALUATIONS:
        if str(nfe) not in found:
            words = [f"run={found['run']}", f"nfe={nfe}", f"n={n}", "protocol=quick", *recipe(preset), runs]
            if nfe != EVALUATIONS[0]:
                words.append("n_likelihood=0")
            said = call("evaluate", *words)
            result = json.loads(Path(said.split()[-1]).read_text())
            found[str(nfe)] = {**result["metrics"], **result["cost"]}
            path.write_text(json.dumps(found))
    return found


def main() -> None:
    """Measure what is asked for, and show all that there is."""
    folder, data, images, *chosen = sys.argv[1:]
    out = Path(folder).resolve()
    out.mkdir(parents=True, exist_ok=True)
    for preset in chosen or presets():
        measured(out, preset, data, images)
    table = Table(
        "", "train s", "bits/dim", *(f"{score} @ {nfe}" for score in SCORES for nfe in EVALUATIONS), "s @ 100"
    )
    for preset in presets():
        path = out / f"{preset}.json"
        if path.exists():
            found = json.loads(path.read_text())
            bits = found[str(EVALUATIONS[0])]
            cells = [f"{found[str(nfe)][score]:.3g}" for score in SCORES for nfe in EVALUATIONS]
            keys = [key for key in ("bits_per_dim", "bits_per_dim_bound") if key in bits]
            likelihood = " ".join(f"{bits[key]:.2f} ± {bits[f'{key}_se']:.2f}" for key in keys)
            table.add_row(preset, f"{found['seconds']:.0f}", likelihood, *cells, f"{found['100']['seconds']:.0f}")
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
