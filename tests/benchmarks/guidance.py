"""What guidance buys and costs: the share of samples of the asked class, and recall, against the scale.

    python tests/benchmarks/guidance.py OUT N RUN GUIDE JUDGE

RUN is a class-conditional run, GUIDE and JUDGE two runs of paradigm=noisy_classifier trained apart: the first guides,
the second alone says what the samples are. Each setting takes the same 40 network evaluations a sample. The figure is
OUT/guidance.png. Needs matplotlib.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
from rich.console import Console
from rich.table import Table

from difflab.data.images import to_float, to_stored
from difflab.data.module import DataModule
from difflab.denoiser.classifier import Classifier
from difflab.experiment.build import build
from difflab.experiment.hardware import settle_precision
from difflab.experiment.protocol import Protocol
from difflab.experiment.recipe import Recipe, balanced
from difflab.experiment.run import find
from difflab.experiment.weights import FromRun, load_denoiser
from difflab.guidance.base import Chain, Guidance
from difflab.guidance.classifier import ClassifierGuidance
from difflab.guidance.classifier_free import ClassifierFree
from difflab.guidance.clip import Clip
from difflab.metric.manifold import manifold
from difflab.metric.reference import real_features
from difflab.sampler.dpm_solver import DPMSolverPP
from difflab.sampler.grid import Quadratic

mpl.use("agg")
from matplotlib import pyplot as plt

SCALES = (1.0, 1.5, 2.0, 3.0, 5.0, 8.0)
NFE = 40


def accuracy(judge: Classifier, x: torch.Tensor, labels: torch.Tensor) -> float:
    """The share of clean samples that the judge, at its least noisy time, gives their label."""
    with torch.no_grad():
        said = torch.cat([judge(part, torch.tensor(judge.schedule.t_min)) for part in torch.split(x, 250)])
    return (said.argmax(1) == labels).double().mean().item()


def main() -> None:
    """Draw, judge, tabulate."""
    folder, n, *names = sys.argv[1:]
    out = Path(folder).resolve()
    out.mkdir(parents=True, exist_ok=True)
    run, runs_dir = find(Path("runs"), names[0]), str(find(Path("runs"), names[0]).folder.parent)
    denoiser, _ = load_denoiser(run)
    judge = FromRun(names[2], str(Path(names[2]).parent))()
    guide = FromRun(names[1], str(Path(names[1]).parent))
    data: DataModule = build(run.config["data"])
    extractor = Protocol.of(run.config["protocol"], torch.device("cpu")).extractor
    layer, frechet = extractor.scores["fd_lite0"]
    test = data.images.test
    real = real_features(extractor, test, len(test), Path(runs_dir) / ".cache")[layer]
    labels = balanced(int(n), data.classes)
    precision = settle_precision("auto", torch.device("cpu"))
    kinds: dict[str, Callable[[float], Guidance]] = {
        "classifier_free": ClassifierFree,
        "classifier": lambda scale: ClassifierGuidance(guide, scale),
    }
    print(f"judge on {len(test)} held-out images: {accuracy(judge, to_float(test.x), test.y):.3f}")
    found: dict[str, dict[float, dict[str, Any]]] = {kind: {} for kind in kinds}
    for kind, guidance in kinds.items():
        for scale in SCALES:
            recipe = Recipe(DPMSolverPP(), Quadratic(), Chain((guidance(scale), Clip())), NFE, precision=precision)
            drawn = recipe.draw(denoiser, labels, seed=0)
            features = extractor(to_stored(drawn.x))[layer]
            shares = manifold(features, real)
            found[kind][scale] = {
                "accuracy": accuracy(judge, drawn.x, labels),
                "recall": shares.recall,
                "precision": shares.precision,
                "coverage": shares.coverage,
                "fd_lite0": frechet(features, real),
                "nfe": drawn.nfe,
            }
            print(kind, scale, {key: round(value, 3) for key, value in found[kind][scale].items()}, flush=True)
    (out / "guidance.json").write_text(json.dumps(found))
    figure, axes = plt.subplots(1, 3, figsize=(15, 4.5))
    for kind, by_scale in found.items():
        table = Table(kind, *by_scale[1.0])
        for scale, values in by_scale.items():
            table.add_row(f"{scale:g}", *(f"{value:.3g}" for value in values.values()))
        Console(width=120).print(table)
        for axis, keys in zip(axes, (("accuracy",), ("recall", "precision"), ("fd_lite0",)), strict=True):
            for key, style in zip(keys, ("-o", ":s"), strict=False):
                axis.plot(list(by_scale), [values[key] for values in by_scale.values()], style, label=f"{kind}: {key}")
    for axis in axes:
        axis.set(xlabel="scale")
        axis.legend(fontsize=8)
    figure.suptitle(f"{run.folder.name}, n = {n}, NFE = {NFE}")
    figure.tight_layout()
    figure.savefig(out / "guidance.png", dpi=110)


if __name__ == "__main__":
    main()
