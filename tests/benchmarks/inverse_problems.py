"""Every inverse problem by every method with a trained run, beside the pseudo-inverse alone, on held-out images.

    python tests/benchmarks/inverse_problems.py RUN OUT

Prints the mean PSNR in dB, without and with noise in the measurement, and writes OUT/inverse_problems.png: for each
problem a row of the truth, of the pseudo-inverse and of each method, without noise on the left, with it on the right.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.console import Console
from rich.table import Table
from torch import Tensor

from difflab.data.images import to_float, to_stored
from difflab.experiment.build import build
from difflab.experiment.config import conf_dir
from difflab.experiment.picture import save_png, sheet, tiles
from difflab.experiment.run import find
from difflab.experiment.weights import load_denoiser
from difflab.guidance.base import Chain
from difflab.guidance.clip import Clip
from difflab.metric.psnr import psnr
from difflab.sampler.ddim import DDIM
from difflab.sampler.generate import generate
from difflab.sampler.grid import LogSNR

N, NFE, NOISE, SHOWN = 16, 50, (0.0, 0.1), 6


def options(group: str) -> dict[str, dict[str, Any]]:
    """The settings of every option of a group."""
    return {path.stem: yaml.safe_load(path.read_text()) for path in sorted(Path(conf_dir(), group).glob("*.yaml"))}


def main() -> None:
    """Measure all, print, draw."""
    run, out = find(Path("runs"), sys.argv[1]), Path(sys.argv[2])
    denoiser, _ = load_denoiser(run)
    data = build(run.config["data"])
    held_out = data.images.test.x
    truth = to_float(held_out[:: len(held_out) // N][:N])
    label = torch.full((N,), denoiser.classes)
    sd = {"sigma_data": data.sigma_data}
    methods = {m: build({**node, **{k: sd[k] for k in node if k in sd}}) for m, node in options("restoration").items()}
    table = Table("problem", "noise", "pinv", *methods, title=f"PSNR (dB), {N} images, {NFE} evaluations: {run.folder}")
    rows = []
    for name, settings in options("problem").items():
        operator = build(settings, shape=denoiser.shape)
        found: list[list[Tensor]] = []
        for noise_std in NOISE:
            y = operator(truth)
            y = y + noise_std * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
            images = [operator.pinv(y).clamp(-1, 1)]
            for method in methods.values():
                guided = Chain((method(operator, y, noise_std), Clip()))(denoiser)
                images.append(generate(guided, DDIM(), LogSNR(), nfe=NFE, labels=label).images)
            table.add_row(name, f"{noise_std:g}", *(f"{psnr(x, truth).mean():.1f}" for x in images))
            found.append([truth, *images])
        rows += [torch.cat([x[:SHOWN] for x in pair]) for pair in zip(*found, strict=True)]
    Console(width=120).print(table)
    save_png(sheet([tiles(to_stored(row)) for row in rows]), out / "inverse_problems.png")


if __name__ == "__main__":
    main()
