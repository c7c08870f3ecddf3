"""Every inverse problem by every method with a trained run, beside the pseudo-inverse alone, on held-out images.

    python tests/benchmarks/inverse_problems.py RUN OUT

Prints the mean PSNR in dB, without and with noise in the measurement, and writes OUT/inverse_problems.png: for each
problem a row of the truth, of the pseudo-inverse and of each method, without noise on the left, with it on the right.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.console import Console
from rich.table import Table
from torch import Tensor

from difflab.data.module import DataModule
from difflab.denoiser.base import AnyDenoiser
from difflab.experiment.parts.build import build
from difflab.experiment.parts.search_path import conf_dir
from difflab.experiment.picture.files import save_png
from difflab.experiment.picture.sheet import Sheet
from difflab.experiment.picture.tile import tiles
from difflab.experiment.store.run import find
from difflab.experiment.store.weights import load_denoiser
from difflab.guidance.base import Chain
from difflab.guidance.clip import Clip
from difflab.guidance.problem import Operator
from difflab.guidance.restoration import Restoration
from difflab.objective.nearness import psnr
from difflab.sampler.ddim import DDIM
from difflab.sampler.generate import generate
from difflab.sampler.grid import LogSNR


def parser() -> argparse.ArgumentParser:
    """The sizes, and their defaults."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("run", help="a run's folder, its name, or the beginning of one")
    made.add_argument("out", type=Path, help="folder for the picture")
    made.add_argument("--n", type=int, default=16, help="held-out images")
    made.add_argument("--nfe", type=int, default=50, help="network evaluations a sample")
    made.add_argument("--noise", type=float, nargs="+", default=[0.0, 0.1], help="std of the measurement's noise")
    made.add_argument("--shown", type=int, default=6, help="images in a row of the picture")
    return made


def options(group: str) -> dict[str, dict[str, Any]]:
    """The settings of every option of a group."""
    return {path.stem: yaml.safe_load(path.read_text()) for path in sorted(Path(conf_dir(), group).glob("*.yaml"))}


def restored(
    x0: Tensor,
    denoiser: AnyDenoiser,
    operator: Operator,
    methods: Mapping[str, Restoration],
    noise_std: float,
    nfe: int,
) -> dict[str, Tensor]:
    """The images that each method, and the pseudo-inverse alone, finds from measurements of `x0`."""
    y = operator(x0)
    y = y + noise_std * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    label = torch.full((len(x0),), denoiser.classes)
    found = {"pinv": operator.pinv(y).clamp(-1, 1)}
    for name, method in methods.items():
        guided = Chain((method(operator, y, noise_std), Clip()))(denoiser)
        found[name] = generate(guided, DDIM(), LogSNR(), nfe=nfe, labels=label).images
    return found


def main(words: Sequence[str] | None = None) -> dict[tuple[str, float], dict[str, float]]:
    """Measure all, print, draw; return the mean PSNR by problem and noise, and then by method."""
    args = parser().parse_args(words)
    run = find(Path("runs"), args.run)
    denoiser, _ = load_denoiser(run)
    data: DataModule = build(run.config["data"])
    x0 = data.encoded(data.held_out)
    x0 = x0[:: len(x0) // args.n][: args.n]
    sd = {"sigma_data": data.sigma_data}
    methods = {m: build({**node, **{k: sd[k] for k in node if k in sd}}) for m, node in options("restoration").items()}
    title = f"PSNR (dB), {args.n} images, {args.nfe} evaluations: {run.folder}"
    table, scores, rows, titles = Table("problem", "noise", "pinv", *methods, title=title), {}, [], []
    for name, settings in options("problem").items():
        operator, sides = build(settings, shape=denoiser.shape), []
        for noise_std in args.noise:
            found = restored(x0, denoiser, operator, methods, noise_std, args.nfe)
            scores[name, noise_std] = {method: psnr(x, x0).mean().item() for method, x in found.items()}
            table.add_row(name, f"{noise_std:g}", *(f"{score:.1f}" for score in scores[name, noise_std].values()))
            sides.append([x0, *found.values()])
        rows += [torch.cat([x[: args.shown] for x in row]) for row in zip(*sides, strict=True)]
        titles += [f"{name}\n{each}" for each in ("held-out", "pseudo-inverse", *methods)]
    Console(width=120).print(table)
    shown = [tiles(data.codec.decode(row), data.codec) for row in rows]
    noises = [f"noise {noise:g}" for noise in args.noise for _ in range(args.shown)]
    save_png(Sheet(shown, [noises], titles, footer=title).image, args.out / "inverse_problems.png")
    return scores


if __name__ == "__main__":
    main()
