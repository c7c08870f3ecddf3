"""`difflab-reflow`: straighten a trained flow by training it on the pairs that it makes itself."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig

from difflab.cli.command import command, described, refusing
from difflab.cli.train import run_to_the_end
from difflab.experiment.config import plain
from difflab.experiment.hardware import keep_heap


def reflow(cfg: DictConfig) -> dict[str, Any] | None:
    """Draw the pairs, then train the run's network on from its weights. Liu et al. 2023 (arXiv:2209.03003), 2.1."""
    with refusing():
        config = described(plain(cfg))
        keep_heap()
        from difflab.experiment.progress import Drawing
        from difflab.experiment.recipe import trained
        from difflab.experiment.reflow import pairs, require_pairs
        from difflab.experiment.training import Training

        teacher = trained(config)
        require_pairs(teacher, config["pairs"], config["seed"])
        if config["images"] < teacher.run.config["batch_size"]:
            raise ValueError(f"images={config['images']} is less than one batch of the run")
    with Drawing("pairs", config["pairs"]) as progress:
        path = pairs(teacher, config["pairs"], config["seed"], progress)
    own = teacher.run.config
    own |= {key: config[key] for key in ("images", "seed", "runs_dir", "command", "study")}
    own["reflowed"] = {"pairs": config["pairs"], "recipe": str(teacher.recipe), "weights": teacher.weights}
    own["init"] = str(teacher.run.folder)
    own["choices"] |= {"paradigm": f"{own['choices']['paradigm']} reflowed"}
    own["data"] |= {"pairs": str(path), "seed": config["seed"]}
    own["model"] |= {"seed": config["seed"]}
    with refusing():
        job = Training.of(own, f"reflow-{teacher.run.folder.name}")
    return run_to_the_end(job)


main = command("reflow", reflow)

if __name__ == "__main__":
    main()
