"""`difflab-evaluate`: measure a trained run with any sampler, with the protocol beside the numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig

from difflab.config import build, command, plain, refusing
from difflab.hardware import best_device, keep_heap
from difflab.run import write_json


@dataclass
class EvaluateSettings:
    """Types of `conf/evaluate.yaml`'s own keys."""

    run: str = MISSING
    n: int | None = None
    n_likelihood: int | None = None
    nfe: int | None = None
    seed: int | None = None
    ema: float | None = None
    precision: str = MISSING
    runs_dir: str = MISSING
    sampler: Any = None
    grid: Any = None
    guidance: Any = None
    protocol: Any = None


ConfigStore.instance().store("evaluate_settings", EvaluateSettings)


def evaluate(cfg: DictConfig) -> None:
    """Draw the protocol's samples, measure them, and write the metrics with their card."""
    with refusing():
        config = plain(cfg)
        keep_heap()
        from difflab.callback.progress import Drawing
        from difflab.evaluation import Protocol
        from difflab.evaluation import evaluate as measure
        from difflab.metric.card import ProtocolCard
        from difflab.sampling import trained
        from difflab.summary import show_evaluation

        run, denoiser, weights, recipe = trained(config)
        own = config["protocol"] or run.config["protocol"]
        chosen = {key: config[key] for key in ("n", "n_likelihood", "seed") if config[key] is not None}
        protocol = Protocol.of({**own, **chosen}, best_device())
        data = build(run.config["data"])
        model = build(run.config["model"])
        model.denoiser = denoiser
        protocol.rehearse(data)
        if not protocol.n:
            raise ValueError("n=0: there is nothing to measure; ask for some, as n=2000")
    cache = Path(config["runs_dir"]) / ".cache"
    with Drawing("measuring", protocol.n) as progress:
        found = measure(model, weights, data, recipe, protocol, cache, progress)
    card = ProtocolCard(**found["card"])
    path = write_json(run.folder / "evaluations" / f"{card.fingerprint}.json", found)
    show_evaluation(found)
    print(path)


main = command("evaluate", evaluate)

if __name__ == "__main__":
    main()
