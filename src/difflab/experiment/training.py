"""The training job: every part is built and checked first, then fitted; it can be interrupted at any point."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers.logger import DummyLogger, Logger
from PIL.Image import Image

from difflab.data.module import DataModule
from difflab.data.order import share
from difflab.denoiser.base import AnyDenoiser
from difflab.experiment.build import build, check
from difflab.experiment.callback.checkpoint import Resumable
from difflab.experiment.callback.pictures import Pictures, sample_grid
from difflab.experiment.callback.progress import RunProgress
from difflab.experiment.checkpoint import newest
from difflab.experiment.evaluation import PARTS, Evaluation, provenance
from difflab.experiment.files import write_json
from difflab.experiment.hardware import best_device, settle_precision
from difflab.experiment.held_out import denoising_error
from difflab.experiment.identity import fingerprint, label, sources
from difflab.experiment.lock import locked
from difflab.experiment.metrics_file import MetricsFile
from difflab.experiment.origins import origins_of
from difflab.experiment.picture import save_png
from difflab.experiment.processes import agreed, rank, several, together
from difflab.experiment.protocol import Protocol
from difflab.experiment.recipe import Recipe
from difflab.experiment.reflow import Teacher
from difflab.experiment.run import SUFFIX, Run
from difflab.experiment.strategy import Shards
from difflab.experiment.tensor_cache import TensorCache
from difflab.experiment.trainer import LOG_EVERY, placed, trainer, watchers
from difflab.experiment.wandb_job import WandbJob
from difflab.experiment.weights import facts_of, load_into, save_weights, weights_name
from difflab.paradigm.base import Diverged, Paradigm
from difflab.paradigm.batch import place
from difflab.paradigm.diffusion import Diffusion
from difflab.paradigm.ema import EMA, Averages, averages_in

log = logging.getLogger(__name__)


class Sampling(NamedTuple):
    """How the samples of a model are drawn, and what they are measured by."""

    recipe: Recipe
    protocol: Protocol


@dataclass(frozen=True)
class Training:
    """A training job whose parts have been built and found to fit; only calling it writes something."""

    config: Mapping[str, Any]
    origins: Mapping[str, Mapping[str, Any]]  # the data and the weights that the run is made from
    run: Run
    devices: Sequence[torch.device]  # of this host, one a process
    device: torch.device  # of this process
    data: DataModule
    model: Paradigm
    teacher: Teacher | None
    sampling: Sampling | None  # None of a model that generates nothing

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Training:
        """Build and check the job. Raises ValueError, OSError or ImportError if it cannot work."""
        devices = placed(config)
        device = best_device(config["trainer"]["accelerator"])
        config = {**config, "precision": settle_precision(config["precision"], device)}
        if config["images"] < config["batch_size"]:
            raise ValueError(f"images={config['images']} is less than one batch of batch_size={config['batch_size']}")
        data: DataModule = build(config["data"])
        torch.manual_seed(config["seed"])
        model: Paradigm = build(config["model"])
        teacher = Teacher.of(config, model, data)
        origins = origins_of(config, data, model, teacher)
        run = Run.of(Path(config["runs_dir"]), label(config), fingerprint(config, origins))
        sampling = None
        if isinstance(model, Diffusion):
            protocol = Protocol.of(config["protocol"], device, config["runs_dir"])
            sampling = Sampling(Recipe.of(config, config["precision"]), protocol)
        job = cls(config, origins, run, devices, device, data, model, teacher, sampling)
        job.check()
        return job

    def check(self) -> None:
        """Take a first step of all that the job will need. Raises ValueError for parts that do not fit."""
        if self.sampling:
            self.sampling.recipe.dry_run(cast(Diffusion, self.model).denoiser)
            self.sampling.protocol.dry_run(self.data)
        if self.config["draws"] and "draws" not in self.config["model"]:
            raise ValueError("draws= belongs to DDPM: choose paradigm=ddpm, ddim or improved_ddpm, or leave it out")
        if self.data.pairs and not self.model.couples:
            raise ValueError("pairs straighten a flow: choose paradigm=rectified_flow, flow_matching or ot_flow")
        training = self.data.images.train if self.teacher else self.data.training
        share(self.config["batch_size"], max(len(self.devices), place()[1]))  # which refuses what cannot be shared
        rows = slice(self.config["batch_size"] // place()[1])
        self.model.corrupt(self.data.encoded(training, rows), training.y[rows], 0.0, 0, 0)
        check(self.config["logger"])
        watchers(self.config)
        if self.learns:
            self.model.optimisation(self.model.learned)  # which refuses networks that the optimizer cannot train
            if isinstance(trainer(self.config, self.run.folder).strategy, Shards):
                Shards.check(self.model)

    @property
    def fingerprint(self) -> str:
        """The name of the run by its content."""
        return fingerprint(self.config, self.origins)

    @property
    def learns(self) -> bool:
        """Whether there is anything to train."""
        return any(p.requires_grad for p in self.model.learned.parameters())

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole budget."""
        return int(self.config["images"] // self.config["batch_size"])

    @property
    def every(self) -> int:
        """Steps between validations."""
        return int(max(1, min(self.steps, self.config["check_every"] // self.config["batch_size"])))

    @property
    def images_remaining(self) -> int:
        """Images that are still to be trained on."""
        if self.run.facts.exists() or not self.learns:
            return 0
        checkpoint = newest(self.run)
        return int((self.steps - (checkpoint.step if checkpoint else 0)) * self.config["batch_size"])

    @property
    def complete(self) -> bool:
        """Whether the run is finished, with its weights."""
        return self.run.result is not None and self.run.facts.exists() and self.run.weights.exists()

    @property
    def evaluations(self) -> list[Evaluation]:
        """The ways in which the run is to be measured: one for each seed of the noise."""
        if self.sampling is None or not self.sampling.protocol.n:
            return []
        weights, cache = weights_name(self.config["ema"][0]), TensorCache(Path(self.config["runs_dir"]) / ".cache")
        known = self.run, cast(Diffusion, self.model), weights, self.data, *self.sampling
        about, extensions = provenance(self.config), sources([self.config[key] for key in PARTS])
        return [Evaluation(*known, seed, cache, about, extensions, self.run) for seed in self.sampling.protocol.seeds]

    def __call__(self, requested: bool = True) -> tuple[Training, bool]:
        """Train, unless that is done: the job at the run that is now finished, and whether this call trained it.

        In as many processes as there are devices. While another job is at the run, say so and wait. `requested`: the
        command was started for this job, and not for another that needs it first.
        """
        if self.complete:
            return self, False
        if several(self.devices):
            new = together(self.devices, train_in_one_process, dict(self.config), requested)
        else:
            with locked(self.claim, f"{self.run.folder} is being trained", agreed):
                if new := not agreed(lambda: self.there.complete):
                    self.train(requested)
        return self.there, new

    @property
    def claim(self) -> Path:
        """The file whose lock a process holds that trains the run, by whatever name."""
        return self.run.folder.parent / self.fingerprint[:SUFFIX]

    @property
    def there(self) -> Training:
        """The job at the folder that has its fingerprint by now: another process may have made it by another name."""
        run = Run.of(self.run.folder.parent, label(self.config), self.fingerprint)
        return self if run == self.run else replace(self, run=run)

    def train(self, requested: bool) -> None:
        """Train to the exported weights and to `result.json`, from wherever that was left."""
        run = self.run
        if not rank():
            run.write_config(self.config, self.fingerprint, self.origins)
        if not agreed(lambda: run.facts.exists() and run.weights.exists()):
            self.fit(requested)
            agreed(self.export)
        if agreed(lambda: run.result is None):
            self.finish(requested)

    def fit(self, requested: bool) -> None:
        """Train from the last state, or from the start, to the state after the last step."""
        checkpoint = agreed(lambda: newest(self.run)) if self.learns else None
        start = checkpoint.step if checkpoint else 0
        logs = self.logs(start, requested)
        if not self.learns or start == self.steps:
            for logger in logs:
                logger.finalize("success")
            return
        model = self.model
        if isinstance(self.trainer.strategy, Shards):
            model = copy.deepcopy(model)  # as what is sharded is not made whole again; `load` reads the averages
        if self.config["compile"]:
            model.learned.get_submodule("backbone").compile()
        self.trainer.loggers = logs
        resumed = checkpoint.path if checkpoint else None
        self.trainer.fit(model, self.fitted, ckpt_path=resumed, weights_only=True)

    @cached_property
    def fitted(self) -> DataModule:
        """What is trained and validated on: the data, or the teacher's pairs in their place."""
        if self.teacher is None:
            return self.data
        pairs: DataModule = build({**self.config["data"], "pairs": str(self.teacher.pairs)})
        return pairs

    @cached_property
    def trainer(self) -> pl.Trainer:
        """Lightning's Trainer, with the callbacks that average, show, and save the state."""
        ema = EMA(self.config["ema"])
        saving = Resumable(self.run.checkpoint, self.every)
        callbacks = [*watchers(self.config), ema, RunProgress(self.config["batch_size"]), saving]
        if self.sampling:
            pictures = self.run.folder / "samples"
            callbacks.insert(0, Pictures(ema.average, self.samples, pictures))
        return trainer(self.config, self.run.folder, callbacks, self.steps, self.every)

    def export(self) -> None:
        """Write the averaged weights of the last state, with what they cost; of what learns nothing, no tensors."""
        averages: Averages = {decay: {} for decay in self.config["ema"]}
        seconds = 0.0
        if checkpoint := newest(self.run) if self.learns else None:
            state = checkpoint.load()
            averages, seconds = averages_in(state), state["callbacks"][RunProgress.__qualname__]["seconds"]
        facts = {"images_seen": self.steps * self.config["batch_size"], "seconds": round(seconds, 1)}
        save_weights(self.run, self.config["model"][self.model.learns], averages, facts)

    def logs(self, start: int, requested: bool) -> list[Logger]:
        """Open the logs of a run that goes on from step `start`."""
        if rank():
            return [DummyLogger()]  # for callbacks that refuse a trainer without a log
        metrics = MetricsFile(self.run.folder / "metrics.jsonl", self.config["batch_size"], start, LOG_EVERY)
        return [metrics, build(self.config["logger"])(self.wandb_job(requested))]

    def wandb_job(self, requested: bool) -> WandbJob:
        """The training as W&B sees it."""
        folder = self.run.folder
        return WandbJob(folder, folder.name, "train", self.config, self.config.get("study"), requested)

    def finish(self, requested: bool) -> None:
        """Write `result.json`, which makes the run finished: held-out losses, cost, errors by noise level, samples."""
        self.load()
        (held_out,) = trainer(self.config, self.run.folder).validate(self.model, self.fitted, verbose=False)
        self.load()  # Lightning has moved it off its device
        if rank():
            return
        result: dict[str, Any] = {key.removeprefix("val/"): value for key, value in held_out.items()}
        result["training"] = facts_of(self.run)["training"]
        if broken := [key for key, value in result.items() if isinstance(value, float) and not math.isfinite(value)]:
            raise Diverged(f"{', '.join(broken)} of the held-out samples is not finite")
        if isinstance(self.model, Diffusion):
            try:
                save_png(self.samples(self.model.denoiser), self.run.folder / "samples" / "final.png")
            except Diverged as error:
                log.warning("no picture of the final samples: %s", error)
            result["denoising_error"] = denoising_error(self.model, self.data)
        for logger in self.logs(self.steps, requested):
            logger.log_metrics({"final/loss": result["loss"]}, self.steps - 1)
            logger.finalize("success")
        write_json(self.run.folder / "result.json", result)

    def load(self) -> None:
        """Give the model its final weights."""
        load_into(self.model.learned, self.run)
        self.model.learned.to(self.device).eval().requires_grad_(False)

    def samples(self, denoiser: AnyDenoiser) -> Image:
        """A grid of samples, a class a column; of points their density."""
        recipe, protocol = cast(Sampling, self.sampling)
        return sample_grid(denoiser, recipe, protocol.seeds[0], self.data)


def train_in_one_process(config: Mapping[str, Any], requested: bool) -> bool:
    """The part of one process in a training of several: whether they trained the run."""
    return Training.of(config)(requested)[1]
