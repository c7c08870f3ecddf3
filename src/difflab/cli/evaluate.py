"""`difflab-evaluate`: measure a run with any sampler, with the protocol beside the numbers.

`run=` names a run that is there. Without it the words are those of training, and what is missing is trained.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from difflab.cli import multirun as sweep
from difflab.cli.command import command, described, refusing
from difflab.cli.train import train
from difflab.experiment.config import build, plain
from difflab.experiment.hardware import best_device, keep_heap


def evaluate(cfg: DictConfig) -> dict[str, Any] | None:
    """Measure the run, or find what was measured before; a card and a file for each seed of the noise."""
    with refusing():
        config = described(plain(cfg))
        keep_heap()
        from difflab.cli.console import show_evaluation
        from difflab.experiment.evaluation import Measurement, measure
        from difflab.experiment.protocol import Protocol
        from difflab.experiment.recipe import RECIPE, trained
        from difflab.experiment.training import about

        run, denoiser, weights, recipe = trained(config)
        own = run.config
        words = config["protocol"] or own["protocol"]
        if "references" not in words:
            raise ValueError(
                f"{run.folder.name} is of an older difflab, whose protocol reads otherwise: protocol=quick"
            )
        chosen = {key: config[key] for key in ("n", "n_likelihood", "seed") if config[key] is not None}
        protocol = Protocol.of({**words, **chosen}, best_device(), config["runs_dir"])
        data = build(own["data"])
        model = build(own["model"])
        model.denoiser = denoiser
        protocol.dry_run(data)
        if not protocol.n:
            raise ValueError("n=0: there is nothing to measure; ask for some, as n=2000")
        own_words = {key: config[key] for key in RECIPE if config[key] is not None}
        told = about({**config, "choices": {**own.get("choices", {}), **config["choices"]}})
        cache = Path(config["runs_dir"]) / ".cache"
        asked = [Measurement(run, model, weights, data, recipe, protocol, k, cache, told) for k in protocol.seeds]
        if config["dry_run"]:
            from difflab.experiment.estimate import plan

            return sweep.tell(plan(model, asked))
    missing = sum(each.found is None for each in asked)
    found = measure(asked, build(config["logger"] or own["logger"]), {**own, **own_words, "choices": told["choices"]})
    if not sweep.one_of_many():
        for each, values in zip(asked, found, strict=True):
            show_evaluation(values)
            print(each.path)
    return {"run": run.folder.name, "measured": missing, "cached": len(asked) - missing, **found[0]}


def main() -> None:
    """Choose by the words."""
    words = sys.argv[1:]
    of_a_run = any(word.startswith("run=") for word in words) or all(word.startswith("-") for word in words)
    command("evaluate", evaluate)() if of_a_run else command("train", train)()


if __name__ == "__main__":
    main()
