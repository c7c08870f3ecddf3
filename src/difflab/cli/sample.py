"""`difflab-sample`: what can be done with a trained run: draw from it with any sampler, invert, interpolate, edit."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig

from difflab.cli.command import command, refusing
from difflab.experiment.config import build, plain
from difflab.experiment.hardware import keep_heap
from difflab.experiment.run import digest, write_json

POINTS = 1000  # samples that show a density


@dataclass
class SampleSettings:
    """Types of `conf/sample.yaml`'s own keys."""

    run: str = MISSING
    n: int | None = None
    nfe: int | None = None
    seed: int = MISSING
    label: int | None = None
    ema: float | None = None
    precision: str | None = None
    batch_size: int = MISSING
    out: str | None = None
    runs_dir: str = MISSING
    sampler: Any = None
    grid: Any = None
    guidance: Any = None
    problem: Any = None
    restoration: Any = None
    task: Any = None


ConfigStore.instance().store("sample_settings", SampleSettings)


def sample(cfg: DictConfig) -> None:
    """Do the task with the run, and write what it found beside the recipe that it was done by."""
    with refusing():
        config = plain(cfg)
        keep_heap()
        from difflab.experiment.recipe import trained
        from difflab.experiment.task.base import Job, Task

        run, denoiser, weights, recipe = trained(config)
        asked = {key: config[key] for key in ("problem", "restoration") if config[key]}
        if "problem" in asked:
            asked["problem"]["shape"] = list(denoiser.shape)
        task: Task = build({**config["task"], **asked})
        seed, label, points = config["seed"], config["label"], build(run.config["data"]).codec.cloud
        n = config["n"] if config["n"] is not None else POINTS if points else task.n
        words = [type(task).__name__.lower(), type(recipe.sampler).__name__.lower()]
        words += [f"nfe{recipe.nfe}", f"seed{seed}", f"n{n}", digest([str(task), str(recipe), weights, label])[:6]]
        folder = Path(config["out"]) if config["out"] else run.folder / "samples" / "-".join(words)
        job = Job(run, denoiser, recipe, n, seed, label, config["batch_size"], folder)
        task.require(job)
    start = time.monotonic()
    picture, images, evaluations, measured = task(job)
    seconds = time.monotonic() - start
    how = {key: str(getattr(recipe, key)) for key in ("sampler", "grid", "guidance", "path", "precision")}
    facts = {"task": str(task), **how, "weights": weights, "seed": seed, "label": label, "n": n}
    write_json(folder / "report.json", facts | {"nfe": evaluations, "seconds": seconds, "measured": measured})
    print(f"{images} images, {evaluations:g} network evaluations each, {seconds:.1f} s: {picture}")
    if measured:
        print(", ".join(f"{name} {value:.4g}" for name, value in measured.items()))


main = command("sample", sample)

if __name__ == "__main__":
    main()
