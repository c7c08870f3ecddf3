"""`difflab-train`: train a run, measure it, and say what was found. A finished run returns at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import MISSING, DictConfig

from difflab.config import command, plain, program, refusing
from difflab.hardware import keep_heap
from difflab.run import BusyError

if TYPE_CHECKING:
    from difflab.training import Training


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


MEASURING = ("sampler", "grid", "guidance", "nfe", "protocol")  # keys that do not decide the weights

ConfigStore.instance().store("train_settings", TrainSettings)


def train(cfg: DictConfig) -> dict[str, Any] | None:
    """Train what the configuration says."""
    choices = HydraConfig.get().runtime.choices
    with refusing():
        config = plain(cfg)
        keep_heap()
        from difflab.training import Training

        job = Training.of(config, f"{choices['paradigm']}-{choices['data']}-s{config['seed']}")
    return run_to_the_end(job)


def run_to_the_end(job: Training) -> dict[str, Any] | None:
    """Do what is left of a job, and say what was found."""
    from difflab.summary import show_result
    from difflab.training import rank

    finished = job.run.result is not None
    if not finished and not rank():
        print(f"run: {job.run.folder}   (Ctrl-C is safe: the same command goes on)", flush=True)
    try:
        result = job()
    except BusyError as busy:
        raise SystemExit(f"{program()}: {busy}") from busy
    if result:
        show_result(job.run, result, job.model.hint)
    if finished and any(job.run.config[key] != job.config[key] for key in MEASURING):
        print("This run was measured before, as the table says; to measure it otherwise: difflab-evaluate run=...")
    return result


main = command("train", train)

if __name__ == "__main__":
    main()
