"""Types of the settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


@dataclass
class TrainSettings:
    """Types of `conf/train.yaml`'s own keys; the groups' values are checked when they are built."""

    seed: int = MISSING
    images: int = MISSING
    batch_size: int = MISSING
    precision: str = MISSING
    init: str | None = None
    ema: list[float] = MISSING
    nfe: int = MISSING
    check_every: int = MISSING
    compile: bool = MISSING
    study: str | None = None
    dry_run: bool = MISSING
    runs_dir: str = MISSING
    model: Any = MISSING
    data: Any = MISSING
    backbone: Any = MISSING
    denoiser: Any = MISSING
    schedule: Any = MISSING
    target: Any = MISSING
    times: Any = MISSING
    weighting: Any = MISSING
    coupling: Any = MISSING
    draws: Any = None
    grid: Any = MISSING
    sampler: Any = MISSING
    guidance: Any = MISSING
    trainer: Any = MISSING
    logger: Any = MISSING
    protocol: Any = MISSING
    teacher: Any = MISSING


ConfigStore.instance().store("train_settings", TrainSettings)


@dataclass
class EvaluateSettings:
    """Types of `conf/evaluate.yaml`'s own keys."""

    run: str = MISSING
    n: int | None = None
    n_likelihood: int | None = None
    nfe: int | None = None
    seed: int | None = None
    ema: float | None = None
    precision: str | None = None
    study: str | None = None
    dry_run: bool = MISSING
    runs_dir: str = MISSING
    sampler: Any = None
    grid: Any = None
    guidance: Any = None
    protocol: Any = None
    logger: Any = None
    data: Any = None


ConfigStore.instance().store("evaluate_settings", EvaluateSettings)


@dataclass
class SampleSettings:
    """Types of `conf/sample.yaml`'s own keys."""

    run: str = MISSING
    n: int | None = None
    nfe: int | None = None
    seed: int = MISSING
    label: int | None = None
    ema: float | None = None
    precision: str | None = None
    batch_size: int = MISSING
    out: str | None = None
    runs_dir: str = MISSING
    sampler: Any = None
    grid: Any = None
    guidance: Any = None
    problem: Any = None
    restoration: Any = None
    task: Any = None
    data: Any = None


ConfigStore.instance().store("sample_settings", SampleSettings)


@dataclass
class ReflowSettings:
    """Types of `conf/reflow.yaml`'s own keys."""

    run: str = MISSING
    pairs: int = MISSING
    nfe: int = MISSING
    images: int = MISSING
    seed: int = MISSING
    ema: float | None = None
    precision: str | None = None
    study: str | None = None
    dry_run: bool = False
    runs_dir: str = MISSING
    sampler: Any = None
    grid: Any = None
    guidance: Any = None
    data: Any = None


ConfigStore.instance().store("reflow_settings", ReflowSettings)
