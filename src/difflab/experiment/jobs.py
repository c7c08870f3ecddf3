"""Training and evaluation as functions of a plain configuration: what the commands and the search call."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Concatenate, Literal, ParamSpec

from difflab.experiment.build import build
from difflab.experiment.config import compose_job, quoted, word_for
from difflab.experiment.errors import user_errors
from difflab.experiment.estimate import estimate
from difflab.experiment.evaluation import PARTS, Evaluation, evaluate_all, provenance
from difflab.experiment.extensions import named
from difflab.experiment.hardware import best_device
from difflab.experiment.identity import flat, sources
from difflab.experiment.protocol import Protocol
from difflab.experiment.recipe import RECIPE, trained
from difflab.experiment.references import check_training, with_runs
from difflab.experiment.run import Run
from difflab.experiment.search_path import Outside, using
from difflab.experiment.tensor_cache import TensorCache
from difflab.experiment.trainer import rank
from difflab.experiment.training import Training

Requested = Literal["train", "evaluate"]  # what a command was started for; the other job it only needs
Result = dict[str, Any]  # plain values
P = ParamSpec("P")
MEASURED = ("n", "n_likelihood", "seed")  # settings of the protocol that `difflab-evaluate run=` has at its top level


def with_extensions(job: Callable[Concatenate[Mapping[str, Any], P], Result | None]) -> Callable[..., Result | None]:
    """A job during which the `extensions` of its configuration are on; those of a stored one switch nothing on."""

    @functools.wraps(job)
    def inner(config: Mapping[str, Any], *args: P.args, **more: P.kwargs) -> Result | None:
        names = config.get("extensions")
        with using(Outside(named(names if isinstance(names, list) else []))):
            return job(config, *args, **more)

    return inner


@with_extensions
def train(
    config: Mapping[str, Any], requested: Requested = "train", launch: Callable[[], None] | None = None
) -> Result | None:
    """Train a run and measure it, each unless it is done already; return the result in the first process alone.

    `config` is a whole configuration, as `difflab.experiment.compose` gives it, or the settings that differ from the
    defaults: `train({"paradigm": "vp_sde", "backbone": {"width": 32}})`. With `dry_run` nothing is done, and the result
    is a `plan`. `launch`, where given, trains in processes of its own. Raises UserError for what cannot work, before
    any work.
    """
    config, waiting = with_runs(whole(config), check_training)
    if waiting:
        return plan_of(waiting)
    with user_errors():
        training = Training.of(config)
        evaluations = training.evaluations
    missing = [each for each in evaluations if each.cached_result is None]
    if config["dry_run"]:
        return {"plan": estimate(evaluations, training)}
    if training.run.result is None and not rank():
        print(f"run: {training.run.folder}   (Ctrl-C is safe: the same command goes on)", flush=True)
        o, images = training.model.optimisation, config["images"]
        if (warmup := o.lr_schedule.warmup) > images:  # as a share of the budget it is not
            print(
                f"lr_schedule.warmup={warmup:_} is longer than images={images:_}: lr={o.lr} is not reached", flush=True
            )
    training, new = training(requested == "train", launch)
    if rank():
        return None
    if missing:
        training.load()
    mirror = build(config["logger"])
    found = evaluate_all(training.evaluations, mirror, training.config, requested == "evaluate")
    counts = {"trained": int(new), "measured": len(missing), "cached": len(evaluations) - len(missing)}
    result = {**(training.run.result or {}), **(found[0] if found else {}), **counts}
    mirror.log_cached(training.wandb_job(requested == "train"), result, {})
    folder = training.run.folder
    name = word_for(folder.name if config["runs_dir"] == "runs" else str(folder))  # what the commands find it by
    said = {"run": folder.name, "folder": str(folder), "next": training.model.hint.format(run=name)}
    return {**said, **result, "evaluations": found}


@with_extensions
def evaluate(config: Mapping[str, Any]) -> Result | None:
    """Measure a run, unless it is measured already; without `run` train it first, as `train` does.

    Raises UserError for what cannot work, before any work.
    """
    if "run" not in config:
        return train(config, "evaluate")
    config, waiting = with_runs(whole(config, "evaluate"), lambda _, rest: trained(rest))
    if waiting:
        return plan_of(waiting)
    with user_errors():
        run, evaluations, own = evaluations_of(config)
    if config["dry_run"]:
        return {"plan": estimate(evaluations)}
    missing = [each for each in evaluations if each.cached_result is None]
    found = evaluate_all(evaluations, build(config["logger"] or own["logger"]), own, requested=True)
    counts = {"measured": len(missing), "cached": len(found) - len(missing)}
    return {
        "run": run.folder.name,
        **found[0],
        **counts,
        "evaluations": found,
        "paths": [str(e.path) for e in evaluations],
    }


def plan_of(missing: Training) -> Result:
    """The plan of a dry run that cannot see beyond a training which the job needs first."""
    print(f"{missing.run.folder} is to be trained first; what comes after it is not counted", flush=True)
    return {"plan": estimate([], missing)}


def evaluations_of(config: Mapping[str, Any]) -> tuple[Run, list[Evaluation], dict[str, Any]]:
    """The evaluations of a run that a configuration asks for; and the run's configuration with what was chosen.

    Raises ValueError, OSError or ImportError if they cannot be done.
    """
    run, denoiser, weights, recipe, data = trained(config)
    own = run.config
    words = config["protocol"] or own["protocol"]
    if "references" not in words:
        raise ValueError(f"{run.folder.name} is of an older difflab, whose protocol reads otherwise: protocol=quick")
    chosen = {key: config[key] for key in MEASURED if config[key] is not None}
    beside = (config if config["protocol"] else own)["runs_dir"]  # where the classifier that it names lies
    protocol = Protocol.of({**words, **chosen}, best_device(), beside)
    protocol.dry_run(data)
    if not protocol.n:
        raise ValueError("n=0: there is nothing to measure; give a number, as n=2000")
    model = build({key: node for key, node in own["model"].items() if key != "denoiser"}, denoiser=denoiser)
    choices = {**own.get("choices", {}), **config["choices"]}
    about, cache = provenance({**config, "choices": choices}), TensorCache(Path(config["runs_dir"]) / ".cache")
    parts = {**own, **{key: config[key] for key in (*RECIPE, "protocol") if config[key] is not None}}
    known = run, model, weights, data, recipe, protocol
    extensions = sources([parts[key] for key in PARTS])
    evaluations = [Evaluation(*known, seed, cache, about, extensions) for seed in protocol.seeds]
    sampling = {key: config[key] for key in RECIPE if config[key] is not None}
    return run, evaluations, {**own, **sampling, "choices": about["choices"]}


def whole(config: Mapping[str, Any], command: str = "train") -> dict[str, Any]:
    """A whole configuration: as it is, or composed from the settings that differ from the defaults.

    Raises UserError for settings that do not exist or do not fit.
    """
    if "choices" in config:
        return dict(config)
    with user_errors():
        return compose_job(command, [f"{key}={quoted(value)}" for key, value in flat(config).items()])
