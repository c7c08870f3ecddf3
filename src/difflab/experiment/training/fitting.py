"""The work of a training: from wherever it was left to the finished run. It can be interrupted at any point."""

from __future__ import annotations

import copy
import logging
import math
import shutil
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.loggers.logger import DummyLogger, Logger

from difflab.experiment.evaluation.held_out import denoising_error, residuals
from difflab.experiment.evaluation.reconstruction import reconstruction_scores
from difflab.experiment.machine.launch import together
from difflab.experiment.machine.lock import locked
from difflab.experiment.machine.processes import agreed, rank, several
from difflab.experiment.machine.terminal import phase
from difflab.experiment.mirror.base import Mirrors, mirrors
from difflab.experiment.parts.identity import BEST
from difflab.experiment.picture.files import picture_at, save_png
from difflab.experiment.store.checkpoint import Checkpoint, newest
from difflab.experiment.store.facts import facts_of
from difflab.experiment.store.files import write_json, write_text
from difflab.experiment.store.metrics_file import MetricsFile
from difflab.experiment.store.snapshots import Damaged, averagings, written
from difflab.experiment.store.summary import computed, keep
from difflab.experiment.store.weights import load_into, save_weights
from difflab.experiment.training.callback.checkpoint import Resumable
from difflab.experiment.training.callback.levels import LossByLevel
from difflab.experiment.training.callback.pictures import Pictures
from difflab.experiment.training.callback.progress import RunProgress
from difflab.experiment.training.callback.selection import Selection, best_in
from difflab.experiment.training.job import Training
from difflab.experiment.training.longer import goes_on_from
from difflab.experiment.training.network_cost import evaluations_an_image
from difflab.experiment.training.strategy import Shards
from difflab.experiment.training.trainer import LOG_EVERY, trainer, watchers
from difflab.paradigm.diffusion import Diffusion
from difflab.paradigm.divergence import Diverged
from difflab.paradigm.ema import Averages, averages_in
from difflab.paradigm.flow_map import FlowMapMatching
from difflab.paradigm.kl_autoencoder import KLAutoencoder
from difflab.paradigm.power_average import parts

log = logging.getLogger(__name__)


def finished(job: Training, requested: bool = True, shown: Mirrors | None = None) -> tuple[Training, bool]:
    """Train, unless that is done: the job at the run that is now finished, and whether this call trained it.

    In as many processes as there are devices. While another job is at the run, say so and wait. `requested`: the
    command was started for this job, and not for another that needs it first. `shown` are the mirrors of the command,
    where it goes on after the training; None: the job's own, closed at its end.
    """
    if job.complete:
        return job, False
    if several(job.devices):
        new = together(job.devices, train_in_one_process, dict(job.config), requested)
    else:
        with locked(job.claim, f"{job.run.folder} is being trained", agreed):
            if new := not agreed(lambda: job.there.complete):
                with nullcontext(shown) if shown else mirrors(job.config["logger"]) as opened:
                    Fit(job, requested, opened).run()
    return job.there, new


def train_in_one_process(config: Mapping[str, Any], requested: bool) -> bool:
    """The part of one process in a training of several: whether they trained the run."""
    return finished(Training.of(config), requested)[1]


def load(job: Training) -> None:
    """Give the model of a job its final weights. If they are damaged that is said, and they are made again."""
    try:
        load_into(job.model.learned, job.run)
    except Damaged as error:
        print(f"{error}; it is made again", flush=True)
        agreed(lambda: job.run.facts.unlink(missing_ok=True))
        with mirrors(job.config["logger"]) as opened:
            Fit(job, False, opened).run()
        load_into(job.model.learned, job.run)
    job.model.learned.to(job.device).eval().requires_grad_(False)


def spent_before(job: Training) -> dict[str, float]:
    """What the runs cost that a training starts from or is taught by, each counted once, with what they cost before."""
    runs = {each["run"]: each["training"] for each in job.origins.values() if "training" in each}
    return {
        f"{key}_before": sum(each[key] + each.get(f"{key}_before", 0) for each in runs.values())
        for key in ("images_seen", "seconds", "evaluations")
        if runs and all(key in each for each in runs.values())  # runs of before have no evaluations
    }


@dataclass(frozen=True)
class Fit:
    """What is left to do of a training, by all processes of its job; `requested` and `shown` as in `finished`."""

    job: Training
    requested: bool
    shown: Mirrors = field(default_factory=lambda: Mirrors(()))

    def run(self) -> None:
        """Train to the exported weights and to `result.json`, from wherever that was left."""
        run = self.job.run
        if not rank():
            run.write_config(self.job.config, self.job.fingerprint, self.job.origins)
        if not agreed(lambda: self.job.exported):
            if run.result is not None:
                print(f"{run.weights} or {run.facts.name} is gone or is damaged, and is made again", flush=True)
            self.fit()
            agreed(self.export)
        if agreed(lambda: run.result is None):
            damaged = run.folder / "result.json"
            if not rank() and damaged.exists():
                print(f"{damaged} is damaged, and is made again", flush=True)
                damaged.unlink()
            self.finish()

    def fit(self) -> None:
        """Train from the last state, or from the start, to the state after the last step."""
        checkpoint = agreed(lambda: goes_on_from(self.job)) if self.job.learns else None
        start = checkpoint.step if checkpoint else 0
        if checkpoint and not rank():
            self.take_over(checkpoint)
        if checkpoint and checkpoint.damaged:
            print(f"{checkpoint.damaged} is damaged: the training goes on from {checkpoint}", flush=True)
        logs = self.logs(start)
        if not self.job.learns or start == self.job.steps:
            for logger in logs:
                logger.finalize("success")
            return
        model = self.job.model
        if isinstance(self.trainer.strategy, Shards):
            model = copy.deepcopy(model)  # sharding changes the module for good; `load` needs the unsharded one
        if self.job.config["compile"]:
            model.learned.get_submodule("backbone").compile()
        self.trainer.loggers = logs
        resumed = checkpoint.path if checkpoint else None
        self.trainer.fit(model, self.job.fitted, ckpt_path=resumed, weights_only=True)

    def take_over(self, checkpoint: Checkpoint) -> None:
        """Say where the training goes on, and have the log until there, which may be that of a shorter run."""
        size, log = self.job.config["batch_size"], self.job.run.folder / "metrics.jsonl"
        other = checkpoint.path.parents[1] / log.name
        if other != log and other.exists():
            write_text(log, other.read_text())
        if checkpoint.step < self.job.steps:
            print(f"goes on from {checkpoint.step * size:,} of {self.job.steps * size:,} images", flush=True)

    @cached_property
    def trainer(self) -> pl.Trainer:
        """Lightning's Trainer, with the callbacks that average, show, and save the state."""
        ema, kept = averagings(self.job.config, self.job.run)
        saving = Resumable(self.job.run.checkpoint, self.job.every)
        kept_best = ema.state_dict if self.job.config.get("keep") == BEST else None
        aside = self.job.data.selection
        selection = Selection(ema.average, self.job.selection_scores, kept_best) if aside else None
        progress = RunProgress(self.job.config["batch_size"], selection)
        callbacks = [*watchers(self.job.config), ema, *kept, LossByLevel(), progress, saving]
        for name, draw in self.job.pictures.items():
            callbacks.insert(0, Pictures(ema.average, draw, self.job.run.folder / name))
        if selection:
            callbacks.insert(0, selection)
        return trainer(self.job.config, self.job.run.folder, callbacks, self.job.steps, self.job.every)

    def export(self) -> None:
        """Write the averaged weights of the last state, with what they cost; of what learns nothing, no tensors."""
        averages: Averages = {decay: {} for decay in self.job.config["ema"]}
        seconds, kept, best = 0.0, {}, dict[str, Any]()
        if checkpoint := newest(self.job.run) if self.job.learns else None:
            state = checkpoint.load()
            averages, seconds = averages_in(state), state["callbacks"][RunProgress.__qualname__]["seconds"]
            if self.job.config.get("keep") == BEST:
                averages, best = best_in(state)
                print("keeps the weights of step {step:,}, whose {score} is {value:.4g}".format(**best), flush=True)
            kept = written(self.job.run, parts(self.job.steps, self.job.config["snapshots"]))
        spent = {"images_seen": self.job.steps * self.job.config["batch_size"], "seconds": round(seconds, 1)}
        pairs = self.job.teacher.evaluations if self.job.teacher else 0
        if self.job.learns and pairs is not None:
            each = evaluations_an_image(self.job.model.to(self.job.device), self.job.fitted)
            spent["evaluations"] = round(each * spent["images_seen"]) + pairs
        facts = spent | spent_before(self.job)
        module, data = self.job.config["model"][self.job.model.learns], self.job.data
        save_weights(self.job.run, module, averages, facts, kept, data.class_names, data.vocabulary, best)

    def logs(self, start: int) -> list[Logger]:
        """Open the logs of a run that goes on from step `start`."""
        if rank():
            return [DummyLogger()]  # for callbacks that refuse a trainer without a log
        metrics = MetricsFile(self.job.run.folder / "metrics.jsonl", self.job.config["batch_size"], start, LOG_EVERY)
        return [metrics, *self.shown.loggers(self.job.wandb_job(self.requested))]

    def finish(self) -> None:
        """Write `result.json`, which makes the run finished: held-out losses, cost, errors by noise level, samples."""
        load(self.job)
        with phase("held-out loss"):
            (held_out,) = trainer(self.job.config, self.job.run.folder).validate(
                self.job.model, self.job.fitted, verbose=False
            )
        load(self.job)  # Lightning has moved it off its device
        if rank():
            return
        result: dict[str, Any] = {key.removeprefix("val/"): value for key, value in held_out.items()}
        facts = facts_of(self.job.run)
        result["training"], best = facts["training"], facts.get("best", {})
        if broken := [key for key, value in result.items() if isinstance(value, float) and not math.isfinite(value)]:
            raise Diverged(f"{', '.join(broken)} of the held-out samples is not finite")
        for name, draw in self.job.pictures.items():
            folder, step = self.job.run.folder / name, best.get("step", self.job.steps)
            try:
                if (last := picture_at(folder, step)).exists():  # of these weights
                    shutil.copyfile(last, folder / "final.png")
                else:
                    with phase(f"picture of the {name}"):
                        save_png(draw(self.job.model.learned, step), folder / "final.png")
            except Diverged as error:
                log.warning("no picture of the final %s: %s", name, error)
        with phase("errors on held-out samples"):
            result |= self.errors()
        for logger in self.logs(self.job.steps):
            logger.log_metrics({"final/loss": result["loss"]}, self.job.steps - 1)
            logger.finalize("success")
        config = self.job.run.config
        keep(self.job.run, config, computed(self.job.run, config, self.job.data.class_names))
        write_json(self.job.run.folder / "result.json", result)

    def errors(self) -> dict[str, Any]:
        """What the final model gets wrong on held-out samples, as far as its kind has such errors."""
        model, found = self.job.model, dict[str, Any]()
        if isinstance(model, Diffusion) and not (model.denoiser.whole_way or model.denoiser.learned_encoder):
            found["denoising_error"] = denoising_error(model, self.job.data)
        if isinstance(model, KLAutoencoder):
            found["reconstructions"] = reconstruction_scores(self.job.config, self.job.run, self.job.device)
        if isinstance(model, FlowMapMatching) and not model.needs_pairs:  # at their own noise alone
            found["residual"] = residuals(model, self.job.data)
        return found
