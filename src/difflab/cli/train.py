"""`difflab-train`: train a run, measure it, and say what was found. What is done already is not done again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from difflab.cli import multirun as sweep
from difflab.cli.command import command, described, program, refusing
from difflab.experiment.config import plain
from difflab.experiment.hardware import keep_heap

if TYPE_CHECKING:
    from difflab.experiment.training import Training


GROUP = ("LOCAL_RANK", "RANK", "WORLD_SIZE", "NODE_RANK", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT", sweep.FOLDER)


def train(cfg: DictConfig) -> dict[str, Any] | None:
    """Train and measure what the configuration says, or say with `dry_run` what there is to do."""
    with refusing():
        config = described(plain(cfg))
        keep_heap()
        from difflab.experiment.training import Training

        job = Training.of(config, f"{config['choices']['paradigm']}-{config['choices']['data']}-s{config['seed']}")
        if config["dry_run"]:
            from difflab.experiment.estimate import plan

            return sweep.tell(plan(job.model, job.measurements, job))
    several = sweep.one_of_many() and config["trainer"]["devices"] != 1
    if several and job.run.result is None:
        in_a_group_of_its_own()
    return run_to_the_end(job)


def in_a_group_of_its_own() -> None:
    """Do this job of a multirun as a command of its own, so that its processes meet each other and no other job's.

    Lightning starts them by the words of the command, which for a multirun are those of all the jobs.
    """
    words = [str(word) for word in HydraConfig.get().overrides.task]
    environment = {key: value for key, value in os.environ.items() if key not in GROUP}
    command = [sys.executable, "-m", "difflab.cli.train", *words, "hydra.mode=RUN"]
    with subprocess.Popen(command, env=environment) as group:
        signals = (signal.SIGINT, signal.SIGTERM)  # theirs to act on: they save what they have
        before = {number: signal.signal(number, lambda n, _: group.send_signal(n)) for number in signals}
        try:
            status = group.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    if status in (130, 143):
        raise SystemExit(status)
    if status:
        raise SystemExit(f"{program()}: its processes ended with status {status}")


def run_to_the_end(job: Training) -> dict[str, Any] | None:
    """Do what is left of a job, and say what was found."""
    from difflab.cli.console import show_result
    from difflab.experiment.trainer import rank

    if job.run.result is None and not rank():
        print(f"run: {job.run.folder}   (Ctrl-C is safe: the same command goes on)", flush=True)
    found = job()
    if found and not sweep.one_of_many():
        show_result(job.run, found, job.model.hint)
    return found


main = command("train", train)

if __name__ == "__main__":
    main()
