"""The reverse process: a sample on its way from noise to data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import torch
from matplotlib.figure import Figure
from torch import Tensor

from difflab.denoiser.base import AnyDenoiser
from difflab.experiment.machine.hardware import autocast
from difflab.experiment.sampling.recipe import Trained
from difflab.guidance.base import Chain, Unguided
from difflab.process.gaussian import scale
from difflab.process.noise import SampleNoise
from difflab.report.figure.base import Drawing, Picture, grid_height, picture_grid
from difflab.report.figure.trained import check_labels, grid_name, many, pictures, repeated
from difflab.report.text import in_figure
from difflab.sampler.base import Sampler
from difflab.sampler.evaluations import counting
from difflab.sampler.generate import noisiest_start, trajectory


@dataclass(frozen=True)
class Reverse(Drawing):
    """x_t and the estimate of x0 from noise to data, two rows for each sampler, all from the same noise.

    Along the recipe's path, which is the run's own schedule unless `sampler.schedule` is another. steps: of the run's
    grid; columns: times that are shown. label: the class. seed: of the noise. Raises ValueError for
    samplers that make their own steps, and for a label that is not there.
    """

    run: Trained
    sampler: Mapping[str, Sampler]
    steps: int = 24
    columns: int = 9
    label: int = 0
    seed: int = 0
    title: ClassVar[str] = "The reverse process"
    options: ClassVar[Mapping[str, str]] = {"sampler": "ancestral,ddim,heun"}

    def __post_init__(self) -> None:
        check_labels(self.run, [self.label])
        for name, sampler in self.sampler.items():
            if sampler.evaluations is None:
                raise ValueError(f"sampler={name} makes its own steps, and here all take the same: leave it out")
        if not 2 <= self.columns <= self.steps + 1:
            raise ValueError(f"columns={self.columns} must be 2 at least, and at most one more than steps={self.steps}")

    @property
    def caption(self) -> str:
        """What is shown, with its formula."""
        path = self.run.recipe.path
        along = f" along the schedule {type(path).__name__}" if path else ""
        return (
            r"Above, $x_t/\sqrt{\alpha_t^2+\sigma_t^2}$, as samples are on their way; below, what the network takes "
            r"them for, $\hat x_0=(x_t-\sigma_t\,\hat\varepsilon)/\alpha_t$, within the run's range, and empty where "
            r"that is mostly the network's error. Early estimates are means of many images; details "
            r"come last. $\lambda$: log-SNR; NFE: network evaluations a sample. "
            f"Run {in_figure(self.run.run.folder.name)}, {self.run.weights}, {self.steps} steps, "
            f"{grid_name(self.run.recipe)}{along}."
        )

    @cached_property
    def denoiser(self) -> AnyDenoiser:
        """The run's, guided and along the recipe's path, whose times all others here are."""
        return self.run.recipe.guided(self.run.denoiser)

    @cached_property
    def times(self) -> Tensor:
        """The falling times that all samplers step down."""
        return self.run.recipe.grid(self.denoiser.schedule, self.steps)

    @cached_property
    def start(self) -> Tensor:
        """The noisiest time at which the network's own estimate, without a range, is not mostly error."""
        plain = replace(self.run.recipe, guidance=Chain((Unguided(),)), range=Unguided())
        return noisiest_start(plain.guided(self.run.denoiser))

    @property
    def shown(self) -> list[int]:
        """The steps that are shown."""
        return [int(k) for k in torch.linspace(0, self.steps, self.columns).round()]

    @torch.no_grad()
    def follow(self, sampler: Sampler) -> tuple[list[Picture | None], list[Picture | None], float]:
        """The pictures of x_t and of the estimates at the times shown, and the network evaluations."""
        denoiser, n = self.denoiser, many(self.run)
        like = torch.empty(n, *denoiser.shape, device=denoiser.device)
        noise = SampleNoise(self.seed, range(n))
        x = scale(denoiser.schedule(self.times[0]).sigma, noise(like, 0))
        denoise = denoiser.bind(repeated(self.label, n).to(denoiser.device))
        with autocast(denoiser.device, self.run.recipe.precision):
            with counting(denoiser) as rows:
                path = [(self.times[0], x), *trajectory(denoise, sampler, self.times, x, noise)]
            chosen = [path[k] for k in self.shown]
            estimates = [denoise(x, t).x0 if t > 0 else x for t, x in chosen]
        meaningful = [bool(t <= self.start) for t, _ in chosen]
        seen = [scale(1 / torch.hypot(*denoiser.schedule(t)), x) for t, x in chosen]
        first: list[Picture | None] = [pictures(self.run, x.cpu())[0] for x in seen]
        shown = [pictures(self.run, x.cpu())[0] if fit else None for x, fit in zip(estimates, meaningful, strict=True)]
        return first, shown, sum(rows) / n

    @cached_property
    def found(self) -> dict[str, tuple[list[Picture | None], list[Picture | None], float]]:
        """The same for each sampler."""
        return {name: self.follow(sampler) for name, sampler in self.sampler.items()}

    def draw(self) -> Figure:
        """Draw two rows for each sampler."""
        schedule = self.denoiser.schedule
        titles, rows, names = [], [], []
        for k in self.shown:
            t = self.times[k]
            level = float(schedule.log_snr(t))
            titles.append(
                f"t = {float(t):.{0 if t >= 100 else 3}{'f' if t >= 100 else 'g'}}\nλ = {level:+.1f}"
                if t > 0
                else "t = 0\ndata"
            )
        for name, (x, estimates, nfe) in self.found.items():
            rows += [x, estimates]
            names += [f"{name}\nNFE {nfe:g}    xₜ", "x̂₀"]
        figure = self.canvas(grid_height(len(rows), self.columns) + 0.1)
        picture_grid(figure, rows, names, titles)
        return figure
