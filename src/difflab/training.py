"""The training job: everything checked first, then the fit, then the measurement; interruptible at every point."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import lightning.pytorch as pl
import torch
import torch.distributed as dist
import yaml
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from difflab.callback.checkpoint import Resumable
from difflab.callback.ema import EMA, Averages
from difflab.callback.progress import RunProgress
from difflab.config import build, check, suggestion
from difflab.data.images import to_float
from difflab.data.module import DataModule
from difflab.evaluation import Protocol
from difflab.hardware import best_device, settle_precision
from difflab.logger import MetricsFile
from difflab.paradigm.base import Paradigm
from difflab.paradigm.diffusion import Diffusion
from difflab.product import Generated, Product
from difflab.run import Run, find, fingerprint, write_json, write_text
from difflab.sampling import Recipe
from difflab.weights import facts_of, load_module, save_weights, start_from

PRECISION: dict[str, Literal["bf16-mixed", "32-true"]] = {"bf16": "bf16-mixed", "fp32": "32-true"}  # Lightning's words
SILENT: dict[str, Any] = {
    "enable_checkpointing": False,  # ours is Resumable
    "enable_progress_bar": False,  # and RunProgress
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}
# The Trainer's settings that a user may choose; the others decide the weights, or are difflab's own.
PLACEMENT = ("accelerator", "devices", "strategy", "num_nodes", "profiler", "detect_anomaly", "benchmark")


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
        """Build and rehearse the job, writing nothing. Raises ValueError, OSError or ImportError if it cannot work."""
        device = torch.device("cpu") if config["trainer"]["accelerator"] == "cpu" else best_device()
        config["precision"] = settle_precision(config["precision"], device)
        if config["images"] < config["batch_size"]:
            raise ValueError(f"images={config['images']} is less than one batch of batch_size={config['batch_size']}")
        if other := [key for key in config["trainer"] if key not in ("_target_", *PLACEMENT)]:
            raise ValueError(f"trainer.{other[0]} is no setting of where to train; {suggestion(other[0], PLACEMENT)}")
        data: DataModule = build(config["data"])
        torch.manual_seed(config["seed"])
        model: Paradigm = build(config["model"])
        runs = Path(config["runs_dir"])
        start = start_from(find(runs, config["init"]), model.learned) if config["init"] else None
        run = Run.of(runs, label, fingerprint(config, data.training.sha256, start))
        product = Product()
        if isinstance(model, Diffusion):
            recipe, protocol = Recipe.of(config, config["precision"]), Protocol.of(config["protocol"], device)
            product = Generated(model, data, recipe, protocol, run.folder / "samples", runs / ".cache")
        job = cls(config, run, device, data, model, product)
        job.rehearse()
        return job

    def rehearse(self) -> None:
        """See that what the job will need can be had. Raises ValueError if it cannot."""
        self.product.rehearse()
        if self.config["draws"] and "draws" not in self.config["model"]:
            raise ValueError(
                "draws= belongs to DDPM's loss: choose paradigm=ddpm, ddim or improved_ddpm, or leave it out"
            )
        if self.data.pairs and not self.model.couples:
            raise ValueError("pairs straighten a flow: choose paradigm=rectified_flow, flow_matching or ot_flow")
        training, n = self.data.training, self.model.batch_size
        self.model.corrupt(to_float(training.x[:n]), training.y[:n], 0.0, 0, 0)
        EMA(self.config["ema"])
        check(self.config["logger"])
        saved_step(self.run)
        self.trainer()

    def __call__(self) -> dict[str, Any] | None:
        """Train if that is not done, measure if that is not done, and return the result; the first process's alone.

        Raises BusyError if another job is at this run.
        """
        if self.run.result:
            return self.run.result
        lock = None if rank() else self.run.claim()
        try:
            if not self.run.facts.exists():
                self.fit()
            return None if rank() else self.measure()
        finally:
            if lock:
                lock.release()

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
            self.loggers(start)
            return export({decay: {} for decay in config["ema"]})
        ema = EMA(config["ema"], export)
        trainer = self.trainer(
            *self.product.pictures(ema.average),
            ema,
            progress,
            Resumable(run.checkpoint, every),
            loggers=self.loggers(start),
            max_steps=steps,
            val_check_interval=every,
        )
        if config["compile"]:
            model.learned.get_submodule("backbone").compile()
        trainer.fit(model, self.data, ckpt_path=run.checkpoint if start else None, weights_only=True)
        if dist.is_initialized():  # what follows is one process's work
            dist.destroy_process_group()

    def trainer(
        self,
        *callbacks: pl.Callback,
        loggers: Sequence[Logger] = (),
        max_steps: int = 1,
        val_check_interval: int = 1,
    ) -> pl.Trainer:
        """Lightning's trainer, counting in steps. Raises ValueError for devices or strategies that are not there."""
        hush()
        try:
            trainer: pl.Trainer = build(
                self.config["trainer"],
                callbacks=list(callbacks),
                logger=list(loggers),
                max_steps=max_steps,
                max_epochs=-1,
                val_check_interval=val_check_interval,
                check_val_every_n_epoch=None,
                precision=PRECISION[self.config["precision"]],
                log_every_n_steps=10,
                default_root_dir=self.run.folder,
                use_distributed_sampler=False,
                inference_mode=False,
                **SILENT,
            )
        except MisconfigurationException as error:
            raise ValueError(f"trainer: {error}") from error
        return trainer

    def loggers(self, start: int) -> list[Logger]:
        """Write the configuration, and open the logs of a run that goes on from step `start`."""
        if rank():
            return []
        folder, batch_size = self.run.folder, self.config["batch_size"]
        write_text(folder / "config.yaml", yaml.safe_dump(dict(self.config), sort_keys=False))
        mirror = build(self.config["logger"])
        return [MetricsFile(folder / "metrics.jsonl", batch_size, start), mirror(folder, self.config, batch_size)]

    def measure(self) -> dict[str, Any]:
        """Measure the exported weights and write `result.json`, which makes the run finished."""
        run, config = self.run, self.config
        learned, weights = load_module(run, device=self.device)
        setattr(self.model, self.model.learns, learned)
        found = self.product.measure(weights)
        result = {**self.held_out(), "training": facts_of(run)["training"], **found}
        steps = config["images"] // config["batch_size"]
        for logger in self.loggers(steps):
            scores = {f"final/{key}": value for key, value in result.get("metrics", {}).items()}
            logger.log_metrics({"final/loss": result["loss"], **scores}, steps - 1)
            logger.finalize("success")
        write_json(run.folder / "result.json", result)
        return result

    def held_out(self) -> dict[str, float]:
        """The loss on the held-out samples, and what else the paradigm's validation logs."""
        precision = PRECISION[self.config["precision"]]
        single = pl.Trainer(
            accelerator=self.device.type,
            devices=1,
            logger=False,
            precision=precision,
            use_distributed_sampler=False,
            **SILENT,
        )
        (found,) = single.validate(self.model, self.data, verbose=False)
        return {key.removeprefix("val/"): value for key, value in found.items()}


def saved_step(run: Run) -> int:
    """The step that a run can go on from. Raises ValueError if its checkpoint cannot be read."""
    if not run.checkpoint.exists():
        return 0
    try:
        step: int = torch.load(run.checkpoint, map_location="meta", weights_only=True)["global_step"]
    except (RuntimeError, EOFError, KeyError, UnpicklingError) as error:
        raise ValueError(f"{run.checkpoint} is damaged; remove it, and the run starts again") from error
    return step


def rank() -> int:
    """The rank of this process, also before the processes have met."""
    return getattr(rank_zero_only, "rank", 0)


def hush() -> None:
    """Keep Lightning's advice out of the user's terminal; its errors stay."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning.*")
