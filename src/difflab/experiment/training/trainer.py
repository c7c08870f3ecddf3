"""Build the Lightning Trainer: users choose device, strategy and precision; the rest is fixed here."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.strategies import DDPStrategy, ParallelStrategy
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

from difflab.experiment.machine.processes import environment, meet
from difflab.experiment.parts.build import build
from difflab.experiment.parts.errors import suggestion
from difflab.experiment.training.callback.norms import Norms
from difflab.experiment.training.strategy import Copies, Shards

PRECISION: dict[str, Literal["bf16-mixed", "32-true"]] = {"bf16": "bf16-mixed", "fp32": "32-true"}  # Lightning's words
LOG_EVERY = 10  # steps between two rows of the training
SILENT: dict[str, Any] = {
    "enable_checkpointing": False,  # ours is Resumable
    "enable_progress_bar": False,  # and RunProgress
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
    "use_distributed_sampler": False,  # the shards are the DataModule's
}
# The Trainer's settings that a user may choose; the others decide the weights, or are difflab's own.
PLACEMENT = ("accelerator", "devices", "strategy", "num_nodes", "profiler", "detect_anomaly", "benchmark")


def trainer(
    config: Mapping[str, Any],
    folder: Path,
    callbacks: Sequence[pl.Callback] = (),
    max_steps: int = -1,
    every: int | None = None,
) -> pl.Trainer:
    """The trainer of a run's configuration, which counts in steps and validates after `every` of them.

    Raises ValueError for settings that a run fixes, and for devices or strategies that are not there.
    """
    hush()
    words = config["trainer"]
    if other := [key for key in words if key not in ("_target_", *PLACEMENT)]:
        raise ValueError(f"trainer.{other[0]} is no setting of where to train; {suggestion(other[0], PLACEMENT)}")

    def by(strategy: object) -> pl.Trainer:
        made: pl.Trainer = build(
            {**words, "strategy": strategy},
            callbacks=list(callbacks),
            logger=False,
            max_steps=max_steps,
            max_epochs=-1,
            val_check_interval=every,
            check_val_every_n_epoch=None,
            precision=PRECISION[config["precision"]],
            log_every_n_steps=LOG_EVERY,
            default_root_dir=folder,
            inference_mode=False,
            plugins=[environment()],
            **SILENT,
        )
        return made

    word = words.get("strategy", "auto")
    try:
        found = by(Shards() if sharded(config) else word)
        if word in ("auto", "ddp") and isinstance(found.strategy, DDPStrategy):  # auto is ddp for several devices
            found = by(Copies())
    except (MisconfigurationException, TypeError, ImportError) as error:  # TypeError: of devices=-1 on a CPU
        raise ValueError(f"trainer: {error}") from error
    if found.strategy.launcher is not None and not isinstance(found.strategy.launcher, _SubprocessScriptLauncher):
        raise ValueError(f"trainer.strategy={word} starts processes in its own way: choose ddp or fsdp")
    return found


def sharded(config: Mapping[str, Any]) -> bool:
    """Whether the processes of a job share the optimizer's state and the gradients."""
    return bool(config["trainer"].get("strategy") == "fsdp")


def devices_of(trainer: pl.Trainer) -> list[torch.device]:
    """The devices of this host that a trainer uses, one a process."""
    strategy = trainer.strategy
    return list(strategy.parallel_devices or ()) if isinstance(strategy, ParallelStrategy) else [strategy.root_device]


def placed(config: Mapping[str, Any]) -> list[torch.device]:
    """The devices of this host that a job uses, one a process; it meets those that torchrun or SLURM has started.

    Raises ValueError for devices that are not there, and UserError for another number of processes than devices.
    """
    found = trainer({**config, "precision": "fp32"}, Path(config["runs_dir"]))
    meet(devices := devices_of(found), found.num_nodes)
    if len(devices) == 1 and devices[0].type != "cpu":
        torch.accelerator.set_device_index(devices[0])
    return devices


def watchers(config: Mapping[str, Any]) -> list[pl.Callback]:
    """The callbacks that a user has chosen. They watch the training and change no weights: no part of its identity.

    Raises ValueError for a class that is no callback, and for another `watch` than there are.
    """
    found = {name: build(node) for name, node in (config["callbacks"] or {}).items()}
    for name, each in found.items():
        if not isinstance(each, pl.Callback):
            raise ValueError(f"callbacks.{name}: {type(each).__name__} is no callback of Lightning")
    return [*found.values(), *([Norms(config["watch"])] if config.get("watch") else [])]


def hush() -> None:
    """Keep Lightning's advice out of the user's terminal; its errors stay."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning.*")
