"""The training job: everything checked first, then the fit, then the measurement; interruptible at every point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
import torch.distributed as dist
import yaml
from lightning.pytorch.loggers import Logger

from difflab.data.module import DataModule
from difflab.experiment.callback.checkpoint import Resumable
from difflab.experiment.callback.ema import EMA, Averages
from difflab.experiment.callback.progress import RunProgress
from difflab.experiment.config import build, check
from difflab.experiment.evaluation import Measurement, measure
from difflab.experiment.hardware import best_device, settle_precision
from difflab.experiment.metrics_file import MetricsFile
from difflab.experiment.product import Generated, Product
from difflab.experiment.protocol import Protocol
from difflab.experiment.recipe import RECIPE, Recipe
from difflab.experiment.run import Run, find, fingerprint, write_json, write_text
from difflab.experiment.trainer import alone, rank, trainer
from difflab.experiment.wandb_job import WandbJob
from difflab.experiment.weights import facts_of, load_module, save_weights, start_from, weights_name
from difflab.paradigm.base import Paradigm
from difflab.paradigm.diffusion import Diffusion


@dataclass(frozen=True)
class Training:
    """A training job whose every part has been built and found to fit."""

    config: Mapping[str, Any]
    run: Run
    device: torch.device
    data: DataModule
    model: Paradigm
    product: Product

    @classmethod
    def of(cls, config: dict[str, Any], label: str) -> Training:
        """Build and dry_run the job, writing nothing. Raises ValueError, OSError or ImportError if it cannot work."""
        device = torch.device("cpu") if config["trainer"]["accelerator"] == "cpu" else best_device()
        config["precision"] = settle_precision(config["precision"], device)
        if config["images"] < config["batch_size"]:
            raise ValueError(f"images={config['images']} is less than one batch of batch_size={config['batch_size']}")
        data: DataModule = build(config["data"])
        torch.manual_seed(config["seed"])
        model: Paradigm = build(config["model"])
        runs = Path(config["runs_dir"])
        start = None
        if config["init"]:
            parent = find(runs, config["init"])
            config["init"], start = str(parent.folder), start_from(parent, model.learned)
        run = Run.of(runs, label, fingerprint(config, data.training.labelled_sha256, start))
        product = Product()
        if isinstance(model, Diffusion):
            recipe = Recipe.of(config, config["precision"])
            protocol = Protocol.of(config["protocol"], device, config["runs_dir"])
            product = Generated(run, model, data, recipe, protocol, runs / ".cache", about(config))
        job = cls(config, run, device, data, model, product)
        job.dry_run()
        return job

    @property
    def left(self) -> int:
        """Images that are still to be trained on."""
        if self.run.facts.exists() or not any(p.requires_grad for p in self.model.learned.parameters()):
            return 0
        batch_size = self.config["batch_size"]
        return int(self.config["images"] // batch_size - saved_step(self.run)) * int(batch_size)

    def dry_run(self) -> None:
        """See that what the job will need can be had. Raises ValueError if it cannot."""
        self.product.dry_run()
        if self.config["draws"] and "draws" not in self.config["model"]:
            raise ValueError(
                "draws= belongs to DDPM's loss: choose paradigm=ddpm, ddim or improved_ddpm, or leave it out"
            )
        if self.data.pairs and not self.model.couples:
            raise ValueError("pairs straighten a flow: choose paradigm=rectified_flow, flow_matching or ot_flow")
        training, rows = self.data.training, slice(self.model.batch_size)
        self.model.corrupt(self.data.encoded(training, rows), training.y[rows], 0.0, 0, 0)
        EMA(self.config["ema"])
        check(self.config["logger"])
        saved_step(self.run)
        trainer(self.config, self.run.folder)

    def __call__(self) -> dict[str, Any] | None:
        """Train, tell what training came to, and measure: whatever of it is not done; the first process's result alone.

        While another job is at this run, say so and wait.
        """
        new = self.run.result is None
        if new:
            label, _, suffix = self.run.folder.name.rpartition("-")
            with nullcontext() if rank() else self.run.claim():
                there = Run.of(self.run.folder.parent, label, suffix)
                if there == self.run and (new := self.run.result is None):
                    self.train()
            if there != self.run:  # another job has made it meanwhile, under another label
                return Training.of(dict(self.config), label)()
        return None if rank() else {"run": self.run.folder.name, "trained": int(new), **self.measure()}

    def train(self) -> None:
        """Train to the exported weights and, in the first process, to `result.json`."""
        if not self.run.facts.exists():
            self.fit()
        if not rank():
            self.finish()

    def fit(self) -> None:
        """Train from the last state, or from the start, to the exported weights; no weights, nothing to train."""
        config, run, model = self.config, self.run, self.model
        batch_size, steps = config["batch_size"], config["images"] // config["batch_size"]
        every = max(1, min(steps, config["check_every"] // batch_size))
        start = saved_step(run)
        progress = RunProgress(batch_size)

        def export(averages: Averages) -> None:
            facts = {"images_seen": steps * batch_size, "seconds": round(progress.seconds, 1)}
            save_weights(run, config["model"][model.learns], averages, facts)

        if not any(p.requires_grad for p in model.learned.parameters()):
            for logger in self.loggers(start):
                logger.finalize("success")
            return export({decay: {} for decay in config["ema"]})
        ema = EMA(config["ema"], export)
        callbacks = [*self.product.pictures(ema.average), ema, progress, Resumable(run.checkpoint, every)]
        fitting = trainer(config, run.folder, callbacks, self.loggers(start), steps, every)
        if config["compile"]:
            model.learned.get_submodule("backbone").compile()
        fitting.fit(model, self.data, ckpt_path=run.checkpoint if start else None, weights_only=True)
        if dist.is_initialized():  # what follows is one process's work
            dist.destroy_process_group()

    def loggers(self, start: int) -> list[Logger]:
        """Write the configuration, and open the logs of a run that goes on from step `start`."""
        if rank():
            return []
        folder, batch_size, config = self.run.folder, self.config["batch_size"], self.config
        write_text(folder / "config.yaml", yaml.safe_dump(dict(config), sort_keys=False))
        return [MetricsFile(folder / "metrics.jsonl", batch_size, start), build(config["logger"])(self.logged)]

    @property
    def logged(self) -> WandbJob:
        """The training as W&B sees it: what `difflab-train` was started for, and not what others need first."""
        told, folder = about(self.config), self.run.folder
        asked = not told["command"].startswith("difflab-evaluate")
        return WandbJob(folder, folder.name, "train", self.config, told["study"], asked)

    def finish(self) -> None:
        """Tell what training came to in `result.json`, which makes the run finished."""
        self.load()
        result = {**self.held_out(), "training": facts_of(self.run)["training"], **self.product.finish()}
        steps = self.config["images"] // self.config["batch_size"]
        for logger in self.loggers(steps):
            logger.log_metrics({"final/loss": result["loss"]}, steps - 1)
            logger.finalize("success")
        write_json(self.run.folder / "result.json", result)

    def load(self) -> None:
        """Give the model its final weights."""
        learned, _ = load_module(self.run, device=self.device)
        setattr(self.model, self.model.learns, learned)

    @property
    def measurements(self) -> Sequence[Measurement]:
        """The ways in which the run is to be measured."""
        return self.product.measurements(weights_name(self.config["ema"][0]))

    def measure(self) -> dict[str, Any]:
        """Measure what is not measured yet; with what training came to, in one table of plain values."""
        missing = sum(each.found is None for each in self.measurements)
        if missing:
            self.load()
        mirror = build(self.config["logger"])
        found = measure(self.measurements, mirror, self.config)
        counts = {"measured": missing, "cached": len(found) - missing}
        everything = {**(self.run.result or {}), **counts, **(found[0] if found else {})}
        mirror.known(self.logged, everything, {})
        return everything

    def held_out(self) -> dict[str, float]:
        """The loss on the held-out samples, and what else the paradigm's validation logs."""
        (found,) = alone(self.device, self.config["precision"]).validate(self.model, self.data, verbose=False)
        return {key.removeprefix("val/"): value for key, value in found.items()}


def about(config: Mapping[str, Any]) -> dict[str, Any]:
    """What is told beside a measurement of how it was asked for."""
    choices = config.get("choices", {})
    told = {key: choices[key] for key in RECIPE if key in choices}
    return {"choices": told, "command": config.get("command", ""), "study": config.get("study")}


def saved_step(run: Run) -> int:
    """The step that a run can go on from. Raises ValueError if its checkpoint cannot be read."""
    if not run.checkpoint.exists():
        return 0
    try:
        step: int = torch.load(run.checkpoint, map_location="meta", weights_only=True)["global_step"]
    except (RuntimeError, EOFError, KeyError, UnpicklingError) as error:
        raise ValueError(f"{run.checkpoint} is damaged; remove it, and the run starts again") from error
    return step
