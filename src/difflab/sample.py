"""`difflab-sample`: draw images from a trained run with any sampler."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig

from difflab.config import command, plain, refusing
from difflab.hardware import keep_heap
from difflab.run import digest


@dataclass
class SampleSettings:
    """Types of `conf/sample.yaml`'s own keys."""

    run: str = MISSING
    n: int = MISSING
    nfe: int | None = None
    seed: int = MISSING
    label: int | None = None
    ema: float | None = None
    precision: str = MISSING
    batch_size: int = MISSING
    singles: bool = MISSING
    out: str | None = None
    runs_dir: str = MISSING
    sampler: Any = None
    grid: Any = None
    guidance: Any = None


ConfigStore.instance().store("sample_settings", SampleSettings)


def sample(cfg: DictConfig) -> None:
    """Draw `n` images and write them as a grid, as an .npz, and one by one if asked."""
    with refusing():
        config = plain(cfg)
        keep_heap()
        import numpy as np
        import torch

        from difflab.callback.progress import Drawing
        from difflab.data.images import to_stored
        from difflab.picture import picture, save_png, tile
        from difflab.sampling import balanced, trained

        run, denoiser, weights, recipe = trained(config)
        n, seed, label, classes = config["n"], config["seed"], config["label"], denoiser.classes
        if n < 1:
            raise ValueError(f"n={n}: ask for at least one image")
        if config["singles"] and len(denoiser.shape) != 3:
            raise ValueError("singles=true writes a PNG for each image, and these samples are points")
        if label is not None and not 0 <= label < classes:
            raise ValueError(f"label={label} is none of this run's {classes} classes, which count from 0")
    labels = balanced(n, classes) if label is None else torch.full((n,), label)
    with Drawing("sampling", n) as progress:
        drawn = recipe.draw(denoiser, labels, seed, config["batch_size"], progress)
    name = f"{type(recipe.sampler).__name__.lower()}-nfe{recipe.nfe}-seed{seed}-n{n}"
    name += f"-{digest([str(recipe), weights, label])[:6]}"  # of what the name leaves out
    folder = Path(config["out"]) if config["out"] else run.folder / "samples" / name
    samples = to_stored(drawn.x)
    save_png(picture(samples, classes if label is None and classes else 8), folder / "grid.png")
    array = samples.movedim(1, -1).numpy()  # images (n, H, W, C)
    np.savez_compressed(folder / "samples.npz", arr_0=array, labels=labels.numpy())  # arr_0: what evaluators expect
    if config["singles"]:
        for k, one in enumerate(samples):
            save_png(tile(one), folder / f"{k:06d}.png")
    print(f"{n} images, {drawn.evaluations:g} network evaluations each, {drawn.seconds:.1f} s: {folder}/grid.png")


main = command("sample", sample)

if __name__ == "__main__":
    main()
