"""`difflab-reflow`: short for `difflab-train teacher=RUN` with the run's own configuration.

It straightens a trained flow by training its network on, with the pairs of noise and samples that it makes itself.
Liu et al. 2023 (arXiv:2209.03003), section 2.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from difflab.cli.command import Found, main_of, words_of
from difflab.cli.line import Context
from difflab.cli.train import train
from difflab.experiment.parts.errors import user_errors

TEACHER = ("run", "ema", "sampler", "grid", "guidance", "range", "nfe", "pairs")  # settings of the teacher
OWN = ("images", "seed", "runs_dir", "command", "study", "dry_run", "extensions")  # of the training
STORED = ("format", "fingerprint", "origins")  # of the run's configuration, and not of a training


def reflow(config: dict[str, Any], context: Context) -> Found:
    """Train the run's network on from its weights, on its own pairs."""
    from difflab.experiment.sampling.recipe import data_of, located, root_of
    from difflab.experiment.store.run import find

    with user_errors():
        run, root = find(Path(config["runs_dir"]), config["run"]), root_of(config["data"])
        own, data = run.config, located(run, root)
        if root is not None:
            data_of(run, config["data"])  # refuses other data than the run's
    settings = {key: value for key, value in own.items() if key not in STORED}
    settings |= {key: config[key] for key in OWN}
    settings |= {"init": None, "teacher": {"starts": True, **{key: config[key] for key in TEACHER}}}
    settings["data"] = {**data, "seed": config["seed"], "pairs": None}
    settings["model"] = {**own["model"], "seed": config["seed"]}
    if config["precision"]:
        settings["precision"] = config["precision"]
    return train(settings, context)


def main(argv: Sequence[str] | None = None) -> None:
    """The console script; `argv` begins with the name of the program."""
    program, words = words_of(argv)
    main_of(program, "reflow", words, reflow)


if __name__ == "__main__":
    main()
