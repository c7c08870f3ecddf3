"""The state that a training goes on from: written whole, checked when it is read, with the one before it kept."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from difflab.experiment.parts.errors import made_from
from difflab.experiment.store.files import atomic
from difflab.experiment.store.run import Run
from difflab.experiment.store.stored import check_fields

PARTS = {"state_dict", "optimizer_states", "lr_schedulers", "loops"}  # of a state that a training goes on from
NEEDED = {"EMA", "RunProgress"}  # callbacks without whose state it does not


@dataclass(frozen=True)
class Checkpoint:
    """A sound checkpoint, the optimiser step that it was written after, and a later one that is damaged, if one is."""

    path: Path
    step: int
    damaged: Path | None = None

    def __str__(self) -> str:
        """Where a training goes on from."""
        return f"{self.path.name}, step {self.step}"

    def check(self, model: nn.Module) -> None:
        """Raise ValueError unless it is a finite state of this network."""
        state = self.load()["state_dict"]
        way_out = "remove it, and the run goes on from the state before it, or starts again"
        for name, own in model.state_dict().items():
            found = state.get(name)
            if not isinstance(found, Tensor) or found.shape != own.shape:
                raise ValueError(f"{self.path} is of another network, in {name}: {way_out}")
            if found.is_floating_point() and not found.isfinite().all():
                raise ValueError(f"{self.path} is not finite, in {name}: {way_out}")

    def load(self) -> Mapping[str, Any]:
        """Its tensors on the CPU, and plain values."""
        content: Mapping[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True, mmap=True)
        return content


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A temporary path for a new checkpoint, which takes the place of `path`; that one becomes `previous(path)`."""
    with atomic(path) as unfinished:
        yield unfinished
        if path.exists():
            os.replace(path, previous(path))


def previous(path: Path) -> Path:
    """The checkpoint before the last one."""
    return path.with_name("previous.ckpt")


def newest(run: Run) -> Checkpoint | None:
    """The last checkpoint of a run or, if it is damaged or missing, the one before it; None where there is neither.

    Raises ValueError if both are damaged, or if there is only one, and it is.
    """
    damaged = None
    for path in (run.checkpoint, previous(run.checkpoint)):
        if path.exists():
            if (step := step_of(path)) is not None:
                return Checkpoint(path, step, damaged)
            damaged = damaged or path
    if damaged:
        raise ValueError(f"{damaged} is damaged, and there is none before it: remove it, and the run starts again")
    return None


def step_of(path: Path) -> int | None:
    """The step of a checkpoint; None if it is damaged: each record has a checksum, and some parts are needed."""
    try:
        with zipfile.ZipFile(path) as records:
            packed = any(each.compress_type != zipfile.ZIP_STORED for each in records.infolist())  # by none of torch's
            if packed or records.testzip() is not None:
                return None
        with made_from(path):
            state = torch.load(path, map_location="meta", weights_only=True)
            check_fields(state, {"global_step": int, "callbacks": dict}, path)
            known = state.keys() >= PARTS and state["callbacks"].keys() >= NEEDED
            return state["global_step"] if known and state["global_step"] >= 0 else None
    except (zipfile.BadZipFile, pickle.UnpicklingError, OSError, EOFError, NotImplementedError, ValueError):
        return None
