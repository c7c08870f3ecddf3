"""How a trained denoiser is sampled: one value for the whole recipe."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from difflab.config import build
from difflab.denoiser import AnyDenoiser
from difflab.generate import generate, times_for, trajectory
from difflab.grid import Grid
from difflab.guidance import Guidance
from difflab.hardware import autocast, best_device, settle_precision
from difflab.run import Run, find
from difflab.sampler import Sampler
from difflab.weights import load_denoiser

RECIPE = ("sampler", "grid", "guidance", "nfe")  # the keys of a configuration that make a recipe


class Drawn(NamedTuple):
    """Samples in the model's range, and what they cost."""

    x: Tensor  # float (n, *) on the CPU
    evaluations: float  # of the network, per sample, as counted
    seconds: float


@dataclass(frozen=True)
class Recipe:
    """Sampler, grid, guidance and the network evaluations that each sample may take."""

    sampler: Sampler
    grid: Grid
    guidance: Guidance
    nfe: int
    precision: str = "fp32"

    @classmethod
    def of(cls, config: Mapping[str, Any], precision: str) -> Recipe:
        """The recipe that a plain configuration says."""
        sampler, grid, guidance = build(config["sampler"]), build(config["grid"]), build(config["guidance"])
        return cls(sampler, grid, guidance, config["nfe"], precision)

    def rehearse(
        self,
        denoiser: AnyDenoiser,
        noise: Callable[[Tensor], Tensor] = torch.randn_like,
        steps: int | None = 1,
    ) -> None:
        """Take the first steps for one sample, or all, so that what cannot work fails before any work.

        Raises ValueError for a sampler, grid or guidance that does not go with the denoiser.
        """
        guided = self.guidance(denoiser)
        times = times_for(guided, self.sampler, self.grid, self.nfe)
        x = torch.zeros(1, *denoiser.shape, device=denoiser.device)
        denoise = guided.bind(torch.tensor([denoiser.classes], device=denoiser.device))
        with torch.no_grad():
            path = trajectory(denoise, self.sampler, times, x, lambda like, k: noise(like))
            for _, reached in itertools.islice(path, steps):
                if not reached.isfinite().all():
                    raise ValueError(f"{self.sampler} on {self.grid} does not stay finite on {guided.schedule}")

    def draw(
        self,
        denoiser: AnyDenoiser,
        labels: Tensor,
        seed: int,
        batch_size: int = 250,
        progress: Callable[[int], None] = lambda done: None,
    ) -> Drawn:
        """Draw one sample for each label; sample k is a function of the seed, k and its label alone."""
        start = time.monotonic()
        with autocast(denoiser.device, self.precision):
            x, evaluations = generate(
                self.guidance(denoiser),
                self.sampler,
                self.grid,
                nfe=self.nfe,
                labels=labels,
                seed=seed,
                batch_size=batch_size,
                device=denoiser.device,
                progress=progress,
            )
        return Drawn(x, evaluations, time.monotonic() - start)


class Trained(NamedTuple):
    """A run as a command finds it, with the recipe that it is to be sampled by."""

    run: Run
    denoiser: AnyDenoiser
    weights: str  # "ema=0.999"
    recipe: Recipe


def trained(config: Mapping[str, Any]) -> Trained:
    """The run of a plain configuration, its recipe being the run's own but for what is chosen.

    Raises ValueError if there is no such run, if it has no weights, or if the recipe does not go with it.
    """
    run, device = find(Path(config["runs_dir"]), config["run"]), best_device()
    denoiser, weights = load_denoiser(run, config["ema"])
    own = run.config
    chosen = {key: own[key] if config[key] is None else config[key] for key in RECIPE}
    recipe = Recipe.of(chosen, settle_precision(config["precision"], device))
    recipe.rehearse(denoiser)
    return Trained(run, denoiser.to(device), weights, recipe)


def balanced(n: int, classes: int) -> Tensor:
    """Labels 0, 1, .. classes - 1, 0, 1, ..; without classes the null label, 0."""
    return torch.arange(n) % max(classes, 1)
