"""The training job: every part is built and checked first, then fitted; it can be interrupted at any point."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, cast

import lightning.pytorch as pl
import torch
import torch.distributed as dist
from lightning.pytorch.loggers.logger import DummyLogger, Logger
from PIL.Image import Image

from difflab.data.module import DataModule
from difflab.denoiser.base import AnyDenoiser
from difflab.experiment.build import build, check
from difflab.experiment.callback.checkpoint import Resumable, saved_step
from difflab.experiment.callback.pictures import Pictures, sample_grid
from difflab.experiment.callback.progress import RunProgress
from difflab.experiment.evaluation import PARTS, Evaluation, provenance
from difflab.experiment.files import write_json
from difflab.experiment.hardware import best_device, settle_precision
from difflab.experiment.held_out import denoising_error
from difflab.experiment.identity import fingerprint, label, sources
from difflab.experiment.metrics_file import MetricsFile
from difflab.experiment.origins import origins_of
from difflab.experiment.picture import save_png
from difflab.experiment.protocol import Protocol
from difflab.experiment.recipe import Recipe
from difflab.experiment.reflow import Teacher
from difflab.experiment.run import Run
from difflab.experiment.tensor_cache import TensorCache
from difflab.experiment.trainer import rank, single_device_trainer, trainer, watchers
from difflab.experiment.wandb_job import WandbJob
from difflab.experiment.weights import facts_of, load_into, save_weights, weights_name
from difflab.paradigm.base import Paradigm
from difflab.paradigm.diffusion import Diffusion
from difflab.paradigm.ema import EMA, Averages


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
    device: torch.device
    data: DataModule
    model: Paradigm
    teacher: Teacher | None
    sampling: Sampling | None  # None of a model that generates nothing

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Training:
        """Build and check the job. Raises ValueError, OSError or ImportError if it cannot work."""
        device = torch.device("cpu") if config["trainer"]["accelerator"] == "cpu" else best_device()
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
        job = cls(config, origins, run, device, data, model, teacher, sampling)
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
        rows = slice(self.model.batch_size)
        self.model.corrupt(self.data.encoded(training, rows), training.y[rows], 0.0, 0, 0)
        check(self.config["logger"])
        watchers(self.config)
        if self.learns:
            self.model.optimisation(self.model.learned)  # which refuses networks that the optimizer cannot train
        if self.images_remaining:
            _ = self.trainer  # which refuses devices and strategies that are not there

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
        return int((self.steps - saved_step(self.run.checkpoint)) * self.config["batch_size"])

    @property
    def evaluations(self) -> list[Evaluation]:
        """The ways in which the run is to be measured: one for each seed of the noise."""
        if self.sampling is None or not self.sampling.protocol.n:
            return []
        weights, cache = weights_name(self.config["ema"][0]), TensorCache(Path(self.config["runs_dir"]) / ".cache")
        known = self.run, cast(Diffusion, self.model), weights, self.data, *self.sampling
        about, extensions = provenance(self.config), sources([self.config[key] for key in PARTS])
        return [Evaluation(*known, seed, cache, about, extensions) for seed in self.sampling.protocol.seeds]

    def __call__(self, requested: bool = True, launch: Callable[[], None] | None = None) -> tuple[Training, bool]:
        """Train, unless that is done: the job at the run that is now finished, and whether this call trained it.

        While another process is at the run, print that and wait. `requested`: the command was started for this job, and
        not for another that needs it first. `launch`, where given, trains in processes of its own.
        """
        if self.run.result is not None:
            return self, False
        new = True
        if launch:
            launch()
        else:
            with nullcontext() if rank() else self.run.claim(self.fingerprint):
                if new := self.there.run.result is None:
                    self.train(requested)
        return self.there, new

    @property
    def there(self) -> Training:
        """The job at the folder that has its fingerprint by now: another process may have made it by another name."""
        run = Run.of(self.run.folder.parent, label(self.config), self.fingerprint)
        return self if run == self.run else replace(self, run=run)

    def train(self, requested: bool) -> None:
        """Train to the exported weights and, in the first process, to `result.json`."""
        if not self.run.facts.exists():
            self.fit(requested)
        if not rank():
            self.finish(requested)

    def fit(self, requested: bool) -> None:
        """Train from the last state, or from the start, to the exported weights."""
        start = saved_step(self.run.checkpoint)
        if not rank():
            self.run.write_config(self.config, self.fingerprint, self.origins)
        logs = self.logs(start, requested)
        if not self.learns:
            for logger in logs:
                logger.finalize("success")
            self.export({decay: {} for decay in self.config["ema"]}, 0.0)
            return
        if self.config["compile"]:
            self.model.learned.get_submodule("backbone").compile()
        self.trainer.loggers = logs
        self.trainer.fit(self.model, self.fitted, ckpt_path=self.run.checkpoint if start else None, weights_only=True)
        if dist.is_initialized():  # what follows is one process's work
            dist.destroy_process_group()

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
        progress = RunProgress(self.config["batch_size"])
        ema = EMA(self.config["ema"], lambda averages: self.export(averages, progress.seconds))
        callbacks = [*watchers(self.config), ema, progress, Resumable(self.run.checkpoint, self.every)]
        if self.sampling:
            pictures = self.run.folder / "samples"
            callbacks.insert(0, Pictures(lambda: self.samples(cast(AnyDenoiser, ema.average())), pictures))
        return trainer(self.config, self.run.folder, callbacks, self.steps, self.every)

    def export(self, averages: Averages, seconds: float) -> None:
        """Write the averaged weights, with what they cost."""
        facts = {"images_seen": self.steps * self.config["batch_size"], "seconds": round(seconds, 1)}
        save_weights(self.run, self.config["model"][self.model.learns], averages, facts)

    def logs(self, start: int, requested: bool) -> list[Logger]:
        """Open the logs of a run that goes on from step `start`."""
        if rank():
            return [DummyLogger()]  # for callbacks that refuse a trainer without a log
        metrics = MetricsFile(self.run.folder / "metrics.jsonl", self.config["batch_size"], start)
        return [metrics, build(self.config["logger"])(self.wandb_job(requested))]

    def wandb_job(self, requested: bool) -> WandbJob:
        """The training as W&B sees it."""
        folder = self.run.folder
        return WandbJob(folder, folder.name, "train", self.config, self.config.get("study"), requested)

    def finish(self, requested: bool) -> None:
        """Write `result.json`, which makes the run finished: held-out losses, cost, errors by noise level, samples."""
        self.load()
        (held_out,) = single_device_trainer(self.device, self.config["precision"]).validate(
            self.model, self.fitted, verbose=False
        )
        result: dict[str, Any] = {key.removeprefix("val/"): value for key, value in held_out.items()}
        result["training"] = facts_of(self.run)["training"]
        if isinstance(self.model, Diffusion):
            save_png(self.samples(self.model.denoiser), self.run.folder / "samples" / "final.png")
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
