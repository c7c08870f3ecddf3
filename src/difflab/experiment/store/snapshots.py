"""Averages that a training keeps on its way, of which one of any length is made when it is over."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as read_tensors
from safetensors.torch import save as tensor_bytes
from torch import Tensor

from difflab.data.regular import memory
from difflab.experiment.parts.errors import UserError
from difflab.experiment.store.files import atomic
from difflab.experiment.store.run import Run
from difflab.experiment.store.stored import content, reason
from difflab.paradigm.ema import EMA
from difflab.paradigm.power_average import TRACKED, PowerAverage, PowerAverages, combination

ERROR = 0.05  # of an average that is made of others, above which it is warned of


class Damaged(ValueError):
    """Weights whose content is not what was written."""


def checked(path: Path, sha256: str) -> dict[str, Tensor]:
    """The tensors of a file. Raises Damaged if it is gone, or if its content is not the one of the sha256."""
    try:
        data = content(path, memory())
    except FileNotFoundError:
        data = b""
    if hashlib.sha256(data).hexdigest() != sha256:
        raise Damaged(f"{path} is damaged: its sha256 is not the one in weights.json")
    try:
        return read_tensors(data)
    except (SafetensorError, KeyError, RuntimeError) as error:  # of a type that torch does not have
        raise Damaged(f"{path} is damaged: {reason(error)}") from error


def averagings(config: Mapping[str, Any], run: Run) -> tuple[EMA, Sequence[PowerAverages]]:
    """The averages that a training tracks: one for each decay and, where it keeps snapshots, those that are kept.

    Raises ValueError unless decays lie in [0, 1), and snapshots are none or at most one a step.
    """
    count, steps = config["snapshots"], config["images"] // config["batch_size"]
    if count > steps:
        raise ValueError(f"snapshots={count} are more than the {steps} steps of this training: give {steps} or fewer")
    return EMA(config["ema"]), [PowerAverages(count, partial(write, run))] if count else []


def path_of(run: Run, step: int | str) -> Path:
    """The file of the averages after a step."""
    return run.folder / "snapshots" / f"{step}.safetensors"


def write(run: Run, step: int, averages: Mapping[float, Mapping[str, Tensor]]) -> None:
    """Keep the averages after a step: the parameters of each length."""
    tensors = {f"{length}/{k}": v.contiguous().cpu() for length, state in averages.items() for k, v in state.items()}
    with atomic(path_of(run, step)) as unfinished:
        unfinished.write_bytes(tensor_bytes(tensors))


def written(run: Run, steps: list[int]) -> dict[str, str]:
    """The sha256 of what was kept after each of the steps. Raises UserError if one is gone."""
    if gone := [str(path_of(run, step)) for step in steps if not path_of(run, step).exists()]:
        raise UserError(f"{gone[0]} is gone, which only training writes: remove {run.folder}, and train again")
    return {str(step): hashlib.sha256(path_of(run, step).read_bytes()).hexdigest() for step in steps}


def of_length(run: Run, snapshots: Mapping[str, str], length: float) -> dict[str, Tensor]:
    """The parameters averaged over a length of the whole training, made of the kept averages.

    Warns where the snapshots do not make that length well. Raises Damaged for a file that is not what was written.
    """
    steps = [*map(int, snapshots)]
    kept = [PowerAverage(tracked, step) for step in steps for tracked in TRACKED]
    shares, error = combination(kept, PowerAverage(length, max(steps)))
    if error > ERROR:
        warnings.warn(
            f"ema={length} of {run.folder.name}: its {len(steps)} snapshots make this average with an error of "
            f"{error:.0%}; a training with more snapshots makes it better",
            stacklevel=2,
        )
    found: dict[str, Tensor] = {}
    for i, (step, sha256) in enumerate(snapshots.items()):
        for name, value in checked(path_of(run, step), sha256).items():
            tracked, _, name = name.partition("/")
            share = shares[i * len(TRACKED) + TRACKED.index(float(tracked))].item()
            found[name] = found.get(name, torch.zeros(value.shape)) + share * value.float()
    return found
