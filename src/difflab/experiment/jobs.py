"""Training and evaluation as functions of a plain configuration: what the commands and the search call."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Concatenate, Literal, ParamSpec

from difflab.experiment.config.compose import compose_job
from difflab.experiment.config.words import quoted, word_for
from difflab.experiment.evaluation.job import PARTS, Evaluation
from difflab.experiment.evaluation.mirrored import evaluate_all
from difflab.experiment.evaluation.protocol import Protocol
from difflab.experiment.machine.launch import together
from difflab.experiment.machine.lock import check_lockable
from difflab.experiment.machine.processes import agreed, rank, several
from difflab.experiment.machine.terminal import opening
from difflab.experiment.mirror.base import Mirrors, mirrors
from difflab.experiment.parts.build import build
from difflab.experiment.parts.errors import kept, user_errors
from difflab.experiment.parts.extensions import named
from difflab.experiment.parts.identity import RECIPE, flat, sources
from difflab.experiment.parts.search_path import Outside, using
from difflab.experiment.references import check_training, with_runs
from difflab.experiment.sampling.recipe import provenance, trained
from difflab.experiment.store.files import check_writable, nearest
from difflab.experiment.store.run import Run
from difflab.experiment.store.tensor_cache import TensorCache
from difflab.experiment.training.callback.selection import chosen_by
from difflab.experiment.training.estimate import estimate
from difflab.experiment.training.fitting import finished, load
from difflab.experiment.training.job import Training
from difflab.experiment.training.opening import opening_lines
from difflab.experiment.training.trainer import placed
from difflab.paradigm.diffusion import Diffusion

Requested = Literal["train", "evaluate"]  # what a command was started for; the other job it only needs
Result = dict[str, Any]  # plain values
P = ParamSpec("P")
ELSEWHERE = "runs_dir=FOLDER keeps runs in another place"
# Settings of the protocol that `difflab-evaluate run=` has at its top level.
MEASURED = ("n", "n_likelihood", "flow_likelihood", "seed")


def with_extensions(job: Callable[Concatenate[Mapping[str, Any], P], Result | None]) -> Callable[..., Result | None]:
    """A job during which the `extensions` of its configuration are on; those of a stored one switch nothing on."""

    @functools.wraps(job)
    def inner(config: Mapping[str, Any], *args: P.args, **more: P.kwargs) -> Result | None:
        names = config.get("extensions")
        with using(Outside(named(names if isinstance(names, list) else []))):
            return job(config, *args, **more)

    return inner


@with_extensions
def train(config: Mapping[str, Any], requested: Requested = "train") -> Result | None:
    """Train a run and measure it, each unless it is done already; return the result in the first process alone.

    `config` is a whole configuration, as `difflab.experiment.compose` gives it, or the settings that differ from the
    defaults: `train({"paradigm": "vp_sde", "backbone": {"width": 32}})`. With `dry_run` nothing is done, and the result
    is a `plan`. Where `trainer.devices` asks for several processes they are started. Raises UserError for what cannot
    work, before any work.
    """
    config = whole(config)
    with user_errors():
        nearest(Path(config["runs_dir"]), ELSEWHERE)
    config, waiting = with_runs(config, check_training)
    if waiting:
        return plan_of(waiting)
    with user_errors():
        training = Training.of(config)
        evaluations = training.evaluations
        print_notes(evaluations)
    complete = training.done
    if not complete:
        with user_errors():
            place = training.run.folder.parent
            check_writable(place, ELSEWHERE, not config["dry_run"])
            check_lockable(place)
    if config["dry_run"]:
        return {"plan": estimate(evaluations, training)}
    if training.run.result is None and not rank():
        opening(opening_lines(training))
    with kept():
        if several(training.devices) and not complete:
            result: Result | None = together(training.devices, train_in_one_process, dict(config), requested)
            return result
        return done(training, requested)


def train_in_one_process(config: Mapping[str, Any], requested: Requested) -> Result | None:
    """The part of one process of several in a job."""
    with kept():
        return done(Training.of(config), requested)


def done(training: Training, requested: Requested) -> Result | None:
    """Train and measure, in all processes of the job; the result, in the first of them."""
    with mirrors(training.config["logger"]) as shown:
        return trained_and_measured(training, requested, shown)


def trained_and_measured(training: Training, requested: Requested, shown: Mirrors) -> Result | None:
    """The same, shown by mirrors that are open from the first step to the last score."""
    training, new = finished(training, requested == "train", shown)
    job = training.wandb_job(requested == "train")
    owed = not rank() and (new or shown.owed(job))
    if owed:
        shown.log_model(job, training.run)
    evaluations = training.evaluations
    missing = agreed(lambda: [each.seed for each in evaluations if each.cached_result is None])
    if missing:
        load(training)
    found = evaluate_all(evaluations, shown, training.config, requested == "evaluate")
    if rank():
        return None
    counts = {"trained": int(new), "measured": len(missing), "cached": len(evaluations) - len(missing)}
    result = {**(training.run.result or {}), **(found[0] if found else {}), **counts}
    if owed or missing:
        shown.log_quality(job, result)
    shown.log_cached(job, result, {})
    folder = training.run.folder
    name = word_for(folder.name if training.config["runs_dir"] == "runs" else str(folder))  # what commands find it by
    model = training.model
    table = isinstance(model, Diffusion) and model.schedule.discrete  # which has room for as many steps
    following = model.hint.format(run=name, nfe=min(20, int(model.schedule.t_max)) if table else 20)
    said = {"run": folder.name, "folder": str(folder), "next": following}
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
        devices = placed(config)
        here = {**config, "trainer": {**config["trainer"], "accelerator": "cpu"}} if several(devices) else config
        run, evaluations, own = evaluations_of(here)  # which others will do, where there are several
        print_notes(evaluations)
    if config["dry_run"]:
        return {"plan": estimate(evaluations)}
    missing = [each for each in evaluations if each.cached_result is None]
    with user_errors():
        for each in missing:
            check_writable(each.home.evaluations, "out=FOLDER keeps what is found in another place")
            run.copy_to(each.home)
    with kept():
        if several(devices) and missing:
            result: Result | None = together(devices, evaluate_in_one_process, dict(config))
            return result
        return measured(config, run, evaluations, own)


def print_notes(evaluations: Sequence[Evaluation]) -> None:
    """Before any work, what a reader must know of the numbers of samples, if anything is to be measured."""
    for each in [each for each in evaluations if each.cached_result is None][:1]:
        each.protocol.print_notes(each.data)


def evaluate_in_one_process(config: Mapping[str, Any]) -> Result | None:
    """The part of one process of several in a job."""
    with kept():
        return measured(config, *evaluations_of(config))


def measured(
    config: Mapping[str, Any], run: Run, evaluations: Sequence[Evaluation], own: Mapping[str, Any]
) -> Result | None:
    """Measure a run, in all processes of the job; the result, in the first of them."""
    missing = agreed(lambda: [each.seed for each in evaluations if each.cached_result is None])
    with mirrors(config["logger"] or own["logger"]) as shown:
        found = evaluate_all(evaluations, shown, own, requested=True)
    if rank():
        return None
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
    Mirrors.of(config["logger"] or own["logger"])  # which refuses one that is not installed
    chosen = {key: config[key] for key in MEASURED if config[key] is not None}
    beside = (config if config["protocol"] else own)["runs_dir"]  # where the classifier that it names lies
    protocol = Protocol.of({**words, **chosen}, denoiser.device, beside)
    protocol.dry_run(data)
    if not protocol.n:
        raise ValueError("n=0: there is nothing to measure; give a number, as n=2000")
    untaught = {key: node for key, node in own["model"].items() if key != "denoiser"}
    if "denoiser" in (untaught.get("drive") or {}):  # a teacher, which measuring does not need and may be gone
        untaught["drive"] = {**untaught["drive"], "denoiser": None}
    model = build(untaught, denoiser=denoiser)
    choices = {**own.get("choices", {}), **config["choices"]}
    home = Run(Path(config["out"]) / run.folder.name) if config["out"] else run
    about = provenance({**config, "choices": choices})
    parts = {**own, **{key: config[key] for key in (*RECIPE, "protocol") if config[key] is not None}}
    known = run, model, weights, data, recipe, protocol
    extensions = sources([parts[key] for key in PARTS])
    context = TensorCache(home.folder.parent / ".cache", extensions), about, extensions, chosen_by(own), home
    evaluations = [Evaluation(*known, seed, *context) for seed in protocol.seeds]
    sampling = {key: config[key] for key in RECIPE if config[key] is not None}
    return run, evaluations, {**own, **sampling, "choices": choices}


def whole(config: Mapping[str, Any], command: str = "train") -> dict[str, Any]:
    """A whole configuration: as it is, or composed from the settings that differ from the defaults.

    Raises UserError for settings that do not exist or do not fit.
    """
    if "choices" in config:
        return dict(config)
    with user_errors():
        return compose_job(command, [f"{key}={quoted(value)}" for key, value in flat(config).items()])
