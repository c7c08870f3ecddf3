"""Models, data and evaluations as artifacts on W&B, with what each was made from.

The trainings of one data set are versions of one artifact, which has the name of the data; the name of a run is an
alias of its version, and so is `best`, which a report gives.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import wandb

from difflab.experiment.mirror.wandb_job import WandbJob, without_secrets
from difflab.experiment.mirror.wandb_server import attempt
from difflab.experiment.picture.image_rows import read_rows
from difflab.experiment.store.files import read_json
from difflab.experiment.store.run import Run
from difflab.experiment.store.wandb_download import BEST, CARD, CONFIG, FACTS, RESULT, WEIGHTS

PATIENCE = 60  # seconds in which a model must arrive, so that what follows can be linked to it


def log_model(session: wandb.Run, job: WandbJob, run: Run) -> None:
    """Log a training's weights, with how to build them and what made them, and link them to the data."""
    origin = job.config.get("origins", {}).get("data", {})
    if not session.offline:  # links need a server
        data = wandb.Artifact(f"{job.choices['data']}-data", "dataset", metadata=plain(origin))
        with data.new_file("data.json") as file:
            json.dump(plain({**job.config["data"], **origin}), file)
        attempt(lambda: session.use_artifact(data))
    facts = {**(read_json(run.facts) or {}), "snapshots": {}}  # which stay here
    card = {"run": run.folder.name, "choices": dict(job.choices), "training": facts.get("training", {})}
    model = wandb.Artifact(job.choices["data"], "model", metadata=plain(card))
    model.add_file(str(run.weights), WEIGHTS)
    config = {**run.config, "runs_dir": "runs"}
    for name, content in {FACTS: facts, CONFIG: config, RESULT: run.result or {}, CARD: card}.items():
        with model.new_file(name) as file:
            json.dump(plain(content), file)
    logged = session.log_artifact(model, aliases=["latest", run.folder.name])
    if not session.offline:
        logged.wait(PATIENCE)


def log_evaluation(session: wandb.Run, job: WandbJob, found: Mapping[str, Any], pictures: Mapping[str, Path]) -> None:
    """Log what an evaluation found, with its pictures, and link it to the model that was measured."""
    use(session, [f"{job.choices['data']}:{job.name.rpartition('-')[0]}"])
    measured = wandb.Artifact(job.name, "evaluation", metadata=plain(found.get("metrics", {})))
    with measured.new_file("evaluation.json") as file:
        json.dump(plain(found), file)
    for name, path in pictures.items():
        measured.add_file(str(path), f"{name}.png")
    session.log_artifact(measured)


def use(session: wandb.Run, names: Sequence[str]) -> None:
    """Link a W&B run to the artifacts that it was made from, as far as they are there."""
    for name in names if not session.offline else ():
        with suppress(Exception):  # it was never sent, or W&B fails, which its next call says
            session.use_artifact(name)


def mark_best(place: str) -> bool:
    """Give the alias `best` to the model ENTITY/PROJECT/DATA:RUN: whether W&B could."""

    def mark() -> None:
        model = wandb.Api().artifact(place)
        model.aliases.append(BEST)
        model.save()

    return attempt(mark)


def plain(value: Any) -> Any:  # noqa: ANN401  # plain values
    """Plain values for JSON, without secrets."""
    return without_secrets(json.loads(json.dumps(value, default=str)))


def image_table(images: Path, card: Mapping[str, Any]) -> wandb.Table:
    """A row for each of the first samples of an evaluation: what it is, how it was drawn, and its nearest neighbour."""
    how = [card["seed"], card["sampler"], card["nfe"], card["guidance"]]
    columns = ["k", "image", "class", "seed", "sampler", "nfe", "guidance", "nearest", "nearest_index", "closeness"]
    rows = [
        [row.k, wandb.Image(row.image), row.label, *how, wandb.Image(row.nearest), row.nearest_index, row.closeness]
        for row in read_rows(images)
    ]
    return wandb.Table([*columns], rows)
