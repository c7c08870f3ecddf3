"""What a run is: the fingerprint of all that decides its weights, the folder that carries it, and what lies there.

RUN/config.yaml          the resolved configuration
    metrics.jsonl        every logged number, a line a step
    checkpoints/         last.ckpt: Lightning's, to go on from
    weights.safetensors  the averaged weights, with weights.json that says how to build their denoiser
    samples/             pictures
    evaluations/         metrics with their protocol cards, a file each, and pictures of what was measured
    wandb/               the mirror on W&B
    result.json          what training came to; written last: the run is finished
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

IDENTITY = ("data", "model", "seed", "images", "batch_size", "precision", "ema")  # what decides the weights
FINGERPRINT = 8  # of its hex digits in a folder's name
INDIFFERENT = ("workers", "pairs", "max_distance")  # keys of theirs that do not by themselves


def digest(value: object) -> str:
    """A hash of plain values, the same on every machine; 16 hex digits."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def fingerprint(config: Mapping[str, Any], data_sha256: str, init_sha256: str | None = None) -> str:
    """The digest of all that decides the trained weights: the configuration, the data, the weights started from."""
    decisive = {key: config[key] for key in IDENTITY}
    decisive["data"] = {k: v for k, v in decisive["data"].items() if k not in INDIFFERENT}
    return digest({**decisive, "data_sha256": data_sha256, "init_sha256": init_sha256})


def write_text(path: Path, text: str) -> Path:
    """Write a file so that it is there whole or not at all; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    unfinished.write_text(text)
    os.replace(unfinished, path)
    return path


def write_json(path: Path, value: object) -> Path:
    """Write plain values as JSON, whole or not at all; return the path."""
    return write_text(path, json.dumps(value, indent=2) + "\n")


@contextmanager
def locked(path: Path, otherwise: str) -> Iterator[None]:
    """Hold a lock file; while another process holds it, say so and wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(otherwise, flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@dataclass(frozen=True)
class Run:
    """A run's folder."""

    folder: Path

    @classmethod
    def of(cls, runs_dir: Path, label: str, fingerprint: str) -> Run:
        """The run of a fingerprint: where it lies already, under whatever label, or else a new folder."""
        suffix = fingerprint[:FINGERPRINT]
        return cls(next(iter(sorted(runs_dir.glob(f"*-{suffix}"))), runs_dir / f"{label}-{suffix}"))

    @property
    def checkpoint(self) -> Path:
        """The state to go on from."""
        return self.folder / "checkpoints" / "last.ckpt"

    @property
    def weights(self) -> Path:
        """The averaged weights."""
        return self.folder / "weights.safetensors"

    @property
    def facts(self) -> Path:
        """How to build the denoiser of the weights; written after them."""
        return self.folder / "weights.json"

    @property
    def result(self) -> dict[str, Any] | None:
        """What a finished run found; None before."""
        path = self.folder / "result.json"
        return json.loads(path.read_text()) if path.exists() else None

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration: plain values, from which nothing is run."""
        try:
            config: dict[str, Any] = yaml.safe_load((self.folder / "config.yaml").read_text())
        except yaml.YAMLError as error:
            raise ValueError(f"{self.folder}/config.yaml is damaged: {error}") from error
        return config

    def claim(self) -> AbstractContextManager[None]:
        """Hold the run against other processes; while one of them trains it, wait, and say so."""
        lock = self.folder.parent / f".{self.folder.name[-FINGERPRINT:]}.lock"  # of the fingerprint, whatever its label
        return locked(lock, f"{self.folder} is being trained by another process: waiting for it")


def find(runs_dir: Path, name: str) -> Run:
    """The run that a folder, or the unique beginning of a run's name, stands for.

    Raises ValueError if there is none, or more than one.
    """
    if (Path(name) / "config.yaml").is_file():
        return Run(Path(name))
    if Path(name).is_dir():
        raise ValueError(f"run={name} is no run: it holds no config.yaml")
    known = sorted(path.parent.name for path in runs_dir.glob("*/config.yaml"))
    match [n for n in known if n.startswith(name)]:
        case [only]:
            return Run(runs_dir / only)
        case []:
            listing = ", ".join(known) or "none yet; difflab-train makes one"
            raise ValueError(f"run={name}: no such folder, and no run in {runs_dir}/ begins so. Runs there: {listing}")
        case several:
            raise ValueError(f"run={name} may be {', '.join(several)}: give more of the name")
