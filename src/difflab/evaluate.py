"""`difflab-evaluate`: measure a trained run with any sampler, with the protocol beside the numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig

from difflab.config import build, command, plain, refusing
from difflab.hardware import best_device, keep_heap, settle_precision
from difflab.run import find, write_json


@dataclass
class EvaluateSettings:
    """Types of `conf/evaluate.yaml`'s own keys."""

    run: str = MISSING
    n: int = MISSING
    nfe: int | None = None
    seed: int = MISSING
    ema: float | None = None
    precision: str = MISSING
    runs_dir: str = MISSING
    sampler: Any = None
    grid: Any = None
    guidance: Any = None
    protocol: Any = MISSING


ConfigStore.instance().store("evaluate_settings", EvaluateSettings)


def evaluate(cfg: DictConfig) -> None:
    """Draw the protocol's samples, measure them, and write the metrics with their card."""
    with refusing():
        config = plain(cfg)
        runs_dir = Path(config["runs_dir"])
        run = find(runs_dir, config["run"])
        keep_heap()
        from difflab.callback.progress import Drawing
        from difflab.evaluation import Protocol
        from difflab.evaluation import evaluate as measure
        from difflab.metric.card import ProtocolCard
        from difflab.sampling import RECIPE, Recipe
        from difflab.summary import show_evaluation
        from difflab.weights import load_denoiser

        device = best_device()
        denoiser, weights = load_denoiser(run, config["ema"])
        chosen = {key: run.config[key] if config[key] is None else config[key] for key in RECIPE}
        recipe = Recipe.of(chosen, settle_precision(config["precision"], device))
        recipe.rehearse(denoiser)
        protocol = Protocol.of({**config["protocol"], "n": config["n"], "seed": config["seed"]})
        data = build(run.config["data"])
        data.load()
        protocol.rehearse(data)
    with Drawing("measuring", protocol.n) as progress:
        found = measure(denoiser.to(device), weights, data, recipe, protocol, runs_dir / ".cache", progress)
    card = ProtocolCard(**found["card"])
    path = write_json(run.folder / "evaluations" / f"{card.fingerprint}.json", found)
    show_evaluation(found)
    print(path)


main = command("evaluate", evaluate)

if __name__ == "__main__":
    main()
