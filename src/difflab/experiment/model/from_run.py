"""What runs trained, for notebooks and for those that use it beside another."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from difflab.denoiser.base import AnyDenoiser
from difflab.experiment.model.conditions import Prompts
from difflab.experiment.parts.extensions import named
from difflab.experiment.parts.search_path import Outside, using
from difflab.experiment.store.facts import facts_of
from difflab.experiment.store.run import Run, find
from difflab.experiment.store.weights import decay_of, load_denoiser, load_module, weights_identity
from difflab.process.ranges import Share


def load(
    path: str | Path,
    ema: float | None = None,
    device: torch.device | str = "cpu",
    extensions: Sequence[str] = (),
    prompts: Sequence[str] = (),
    negative: str | None = None,
) -> AnyDenoiser:
    """The denoiser of a run, ready to be sampled, by its folder or the unique beginning of that: `runs/ddpm-digits`.

    `extensions` are the names of those whose classes it may be built of: name only those whose code you trust. A run
    with captions takes `prompts`, and label k is that of the k-th; without them every label is the empty caption.
    Raises ValueError if there is no such run, if it has no weights yet or no such decay, if it generates nothing, if
    it needs an extension that is off, or for prompts of a run without captions.
    """
    path = Path(path)
    with using(Outside(named(extensions))):
        run = find(path.parent, str(path) if path.is_dir() else path.name)
        if run.changes:
            warnings.warn(run.changes, stacklevel=2)
        denoiser, _ = load_denoiser(run, ema, device)
        if asked := Prompts.of(prompts, negative):
            asked.fill(denoiser, facts_of(run), run.folder.name)
        return denoiser


def beside(*users: object) -> Iterator[nn.Module]:
    """What runs trained that these objects use, as guidances and a drive by a teacher do."""
    for user in users:
        for value in vars(user).values() if hasattr(user, "__dict__") else ():
            if isinstance(value, FromRun) and value.run is not None:
                yield value()


@dataclass(frozen=True)
class FromRun:
    """What a run trained, for those that use it beside another: `run` and `ema` as in `difflab-sample`.

    Raises ValueError if there is no such run, if it has no such decay, or if it has no weights yet.
    """

    run: str | None
    runs_dir: str
    ema: Share | None = None

    def __post_init__(self) -> None:
        if self.run is not None:  # it is None while the run is still to be trained
            decay_of(self.found, self.ema)  # refuse a run that is not there before any work

    @cached_property
    def found(self) -> Run:
        """The run, wherever it lies."""
        if self.run is None:
            raise ValueError("no run is named that could be used here")
        return find(Path(self.runs_dir), self.run)

    @property
    def identity(self) -> dict[str, Any]:
        """Which weights these are, wherever the run lies and however it is named."""
        return {"class": "experiment:FromRun", **weights_identity(self.found, self.ema)}

    @cached_property
    def module(self) -> nn.Module:
        """It, loaded once."""
        return load_module(self.found, self.ema)[0]

    def __call__(self) -> nn.Module:
        """Load it."""
        return self.module
