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
from lightning.pytorch.utilities import rank_zero_only

from difflab.experiment.build import build
from difflab.experiment.errors import suggestion

PRECISION: dict[str, Literal["bf16-mixed", "32-true"]] = {"bf16": "bf16-mixed", "fp32": "32-true"}  # Lightning's words
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
    callbacks: Sequence[pl.Callback],
    max_steps: int,
    every: int,
) -> pl.Trainer:
    """The trainer of a run's configuration, which counts in steps and validates after `every` of them.

    Raises ValueError for settings that a run fixes, and for devices or strategies that are not there.
    """
    hush()
    if other := [key for key in config["trainer"] if key not in ("_target_", *PLACEMENT)]:
        raise ValueError(f"trainer.{other[0]} is no setting of where to train; {suggestion(other[0], PLACEMENT)}")
    try:
        found: pl.Trainer = build(
            config["trainer"],
            callbacks=list(callbacks),
            logger=False,
            max_steps=max_steps,
            max_epochs=-1,
            val_check_interval=every,
            check_val_every_n_epoch=None,
            precision=PRECISION[config["precision"]],
            log_every_n_steps=10,
            default_root_dir=folder,
            inference_mode=False,
            **SILENT,
        )
    except MisconfigurationException as error:
        raise ValueError(f"trainer: {error}") from error
    return found


def watchers(config: Mapping[str, Any]) -> list[pl.Callback]:
    """The callbacks that a user has chosen. They watch the training and change no weights: no part of its identity.

    Raises ValueError for a class that is no callback.
    """
    found = {name: build(node) for name, node in (config["callbacks"] or {}).items()}
    for name, each in found.items():
        if not isinstance(each, pl.Callback):
            raise ValueError(f"callbacks.{name}: {type(each).__name__} is no callback of Lightning")
    return [*found.values()]


def single_device_trainer(device: torch.device, precision: str) -> pl.Trainer:
    """A trainer on one device, to validate with."""
    return pl.Trainer(accelerator=device.type, devices=1, logger=False, precision=PRECISION[precision], **SILENT)


def rank() -> int:
    """The rank of this process, also before the processes have met."""
    return getattr(rank_zero_only, "rank", 0)


def hush() -> None:
    """Keep Lightning's advice out of the user's terminal; its errors stay."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning.*")
