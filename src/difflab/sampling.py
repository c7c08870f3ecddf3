"""How a trained denoiser is sampled: one value for the whole recipe."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from difflab.config import build
from difflab.data.images import to_uint8
from difflab.denoiser import AnyDenoiser, Denoiser
from difflab.generate import SampleNoise, generate, steps_for
from difflab.grid import Grid
from difflab.guidance import Guidance
from difflab.hardware import autocast, best_device, settle_precision
from difflab.run import Run, find
from difflab.sampler import Sampler
from difflab.weights import load_denoiser

RECIPE = ("sampler", "grid", "guidance", "nfe")  # the keys of a configuration that make a recipe


class Drawn(NamedTuple):
    """Samples as images, and what they cost."""

    images: Tensor  # uint8 (n, C, H, W)
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

    def rehearse(self, denoiser: AnyDenoiser) -> None:
        """Take the first step for one sample, so that what cannot work fails before any work.

        Raises ValueError for a sampler, grid or guidance that does not go with the denoiser.
        """
        guided = self.guidance(denoiser)
        times = self.grid(guided.schedule, steps_for(guided, self.sampler, self.nfe))
        t, s = next(pairwise(times.unbind()))
        x, label = torch.zeros(1, *denoiser.shape), torch.tensor([denoiser.classes])
        with torch.no_grad():
            self.sampler.step(
                guided.bind(label), x, t, s, self.sampler.init(x), lambda like: SampleNoise(0, [0])(like, 0)
            )

    def draw(
        self,
        denoiser: AnyDenoiser,
        labels: Tensor,
        seed: int,
        batch_size: int = 250,
        progress: Callable[[int], None] = lambda done: None,
    ) -> Drawn:
        """Draw one image for each label; image k is a function of the seed, k and its label alone."""
        device = next(denoiser.parameters()).device
        start = time.monotonic()
        with autocast(device, self.precision):
            images, evaluations = generate(
                self.guidance(denoiser),
                self.sampler,
                self.grid,
                nfe=self.nfe,
                labels=labels,
                seed=seed,
                batch_size=batch_size,
                device=device,
                progress=progress,
            )
        return Drawn(to_uint8(images), evaluations, time.monotonic() - start)


class Trained(NamedTuple):
    """A run as a command finds it, with the recipe that it is to be sampled by."""

    run: Run
    denoiser: Denoiser
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
