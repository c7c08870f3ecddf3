"""Evaluations, each mirrored as a job of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from difflab.experiment.evaluation.job import Evaluation
from difflab.experiment.machine.processes import agreed, rank
from difflab.experiment.machine.terminal import bar, silently
from difflab.experiment.mirror.base import Mirrors
from difflab.experiment.mirror.wandb_job import WandbJob


def evaluate_all(
    evaluations: Sequence[Evaluation], mirror: Mirrors, config: Mapping[str, Any], requested: bool
) -> list[dict[str, Any]]:
    """The results of evaluations, cached or new, each mirrored as a job of its own; `config` is the run's.

    `requested`: the command was started for these evaluations; a W&B sweep then waits for the first of them.
    """
    found = []
    for k, evaluation in enumerate(evaluations):
        about = evaluation.provenance
        job = WandbJob(
            evaluation.path.parent,
            f"{evaluation.run.folder.name}-{evaluation.card.fingerprint}",
            "evaluate",
            {**config, "command": about["command"]},
            about["study"],
            requested and k == 0,
        )
        if known := agreed(partial(getattr, evaluation, "cached_result")):
            files = evaluation.pictures, evaluation.images
            if not rank() and not evaluation.given(partial(mirror.log_evaluation, job, known, *files)):
                mirror.log_cached(job, known, *files)
        else:
            known = run_and_log(evaluation, job, mirror)
        found.append(known)
    return found


def run_and_log(evaluation: Evaluation, job: WandbJob, mirror: Mirrors) -> dict[str, Any]:
    """The result of an evaluation, mirrored by the process that makes it."""
    return evaluation(
        silently if rank() else bar,
        lambda found: mirror.log_evaluation(job, found, evaluation.pictures, evaluation.images),
    )
