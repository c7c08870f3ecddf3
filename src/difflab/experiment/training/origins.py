"""What a run is made from: its data, and the weights of other runs that it starts from or is taught by."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from difflab.data.module import DataModule
from difflab.experiment.model.first_stage import source_of, stage_identity
from difflab.experiment.store.run import Run, find
from difflab.experiment.store.weights import kept_of, start_from, weights_identity
from difflab.experiment.training.teacher import Teacher
from difflab.paradigm.base import Paradigm

Origins = dict[str, dict[str, Any]]


def origins_of(config: Mapping[str, Any], data: DataModule, model: Paradigm, teacher: Teacher | None) -> Origins:
    """The origins of a training, by their content; the model is given the weights that it starts from.

    The sum of the held-out samples is a record (`RECORDS`), by which moved data are known again.

    Raises ValueError for a run to start from that is not there, or whose network is another.
    """
    images = data.images.train.labelled_sha256
    trained_on = images if teacher else data.training.labelled_sha256
    origins: Origins = {"data": {"sha256": trained_on, "images": images}}
    origins["data"]["held_out"] = data.images.held_out_sha256
    if lookup := data.images.lookup_sha256:
        origins["data"]["lookup"] = lookup
    if source := source_of(config):
        origins["first_stage"] = {**stage_identity(source, config), **source.kept}
    if teacher:
        origins["teacher"] = teacher.origin
    elif model.follows_teacher and config["teacher"].get("run"):
        words = config["teacher"]
        run = find(Path(config["runs_dir"]), words["run"], "teacher")
        origins["teacher"] = origin(run, weights_identity(run, words["ema"]))
    if start := start_of(config):
        run, ema = start
        origins["init"] = origin(run, start_from(run, model.learned, ema))
    return origins


def origin(run: Run, weights: Mapping[str, Any]) -> dict[str, Any]:
    """The identity of a run's weights, and what is stored about the run for people and reports."""
    return {"sha256": weights["weights"], "ema": weights["ema"], **kept_of(run)}


def start_of(config: Mapping[str, Any]) -> tuple[Run, float | None] | None:
    """The run, and the decay of its averages, whose weights a training starts from: `init`, or else its teacher.

    `init=none` starts from scratch. Raises ValueError if there is no such run.
    """
    if config["init"] == "none":
        return None
    if config["init"]:
        return find(Path(config["runs_dir"]), config["init"], "init"), None
    words = config.get("teacher") or {}
    if words.get("run") and words["starts"]:
        return find(Path(config["runs_dir"]), words["run"], "teacher"), words["ema"]
    return None
