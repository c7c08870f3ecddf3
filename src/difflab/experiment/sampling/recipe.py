"""How a trained denoiser is sampled: one value for the whole recipe."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from difflab.data.module import DataModule
from difflab.denoiser.base import AnyDenoiser
from difflab.denoiser.rescheduled import Rescheduled
from difflab.experiment.machine.hardware import autocast, best_device, casts_kept, settle_precision
from difflab.experiment.machine.terminal import remark
from difflab.experiment.model.conditions import Prompts, look_up
from difflab.experiment.model.first_stage import data_module
from difflab.experiment.model.from_run import beside
from difflab.experiment.parts.build import build
from difflab.experiment.parts.errors import made_from
from difflab.experiment.parts.identity import RECIPE
from difflab.experiment.sampling.found_times import FoundTimes, Seen
from difflab.experiment.store.facts import facts_of
from difflab.experiment.store.run import Run, find
from difflab.experiment.store.tensor_cache import TensorCache
from difflab.experiment.store.weights import load_denoiser
from difflab.guidance.base import Chain, Guidance, Unguided
from difflab.paradigm.divergence import Diverged
from difflab.process.gaussian import scale
from difflab.process.noise import SampleNoise
from difflab.process.schedule import Schedule
from difflab.sampler.base import Sampler
from difflab.sampler.evaluations import Recorder, tabulated
from difflab.sampler.generate import integrate, times_for, trajectory, warn_once
from difflab.sampler.grid import Grid
from difflab.sampler.regime import advice

BATCH = 250  # samples that are drawn at once


class Drawn(NamedTuple):
    """Samples in the model's range, and what they cost."""

    x: Tensor  # float (n, *) on the CPU
    nfe: float  # network evaluations per sample, as counted
    seconds: float


@dataclass(frozen=True)
class Recipe:
    """Sampler, grid, guidance, the range of x0 and the network evaluations that each sample may take.

    And the `path` that is sampled along, if it is another schedule than the trained one.
    """

    sampler: Sampler
    grid: Grid
    guidance: Chain
    nfe: int
    path: Schedule | None = None
    precision: str = "fp32"
    range: Guidance = field(default_factory=Unguided)
    found: FoundTimes = field(default_factory=FoundTimes, compare=False)  # what finds times, for a grid that does

    @classmethod
    def of(cls, config: Mapping[str, Any], precision: str, found: FoundTimes | None = None) -> Recipe:
        """The recipe that a plain configuration says: `sampler.schedule` is the path, `guidance` a chain by names."""
        sampler = {key: value for key, value in config["sampler"].items() if key != "schedule"}
        path = config["sampler"].get("schedule")
        guidance, limit = Chain(tuple(build(config["guidance"]).values())), build(config["range"])
        nfe, along = config["nfe"], path and build(path)
        return cls(build(sampler), build(config["grid"]), guidance, nfe, along, precision, limit, found or FoundTimes())

    @property
    def chain(self) -> Chain:
        """The guidance, and after it the range; `Unguided` alone if there is neither."""
        parts = tuple(part for part in (*self.guidance.parts, self.range) if part != Unguided())
        return Chain(parts or (Unguided(),))

    def guided(self, denoiser: AnyDenoiser) -> AnyDenoiser:
        """The denoiser guided and kept in its range, on its own schedule, and that along the path."""
        guided = self.chain(denoiser)
        return guided if self.path in (None, denoiser.schedule) else Rescheduled(guided, self.path)

    def times(self, denoiser: AnyDenoiser) -> Tensor:
        """The times that samples are drawn at."""
        guided = self.guided(denoiser)
        times = times_for(guided, self.sampler, self.grid, self.nfe)
        if self.grid.finds:
            about = [*self.chain.parts, self.path]
            return self.found(self.grid, guided, self.sampler, times, self.precision, about)
        return self.grid.fit(guided, self.sampler, times)

    def dry_run(
        self,
        denoiser: AnyDenoiser,
        noise: Callable[[Tensor], Tensor] = torch.randn_like,
        steps: int | None = 1,
    ) -> None:
        """Take the first steps for one sample, or all, so that what cannot work fails before any work.

        Warns of a sampler that is known to do badly here. Raises ValueError for a sampler, grid or guidance that does
        not go with the denoiser.
        """
        guided = self.guided(denoiser)
        times = times_for(guided, self.sampler, self.grid, self.nfe)
        self.grid.check(self.sampler, len(times) - 1)
        if warning := advice(self.sampler, guided.schedule, self.grid, self.nfe):
            warn_once(warning)
        x = torch.zeros(1, *denoiser.shape, device=denoiser.device)
        denoise = guided.bind(torch.tensor([guided.classes], device=denoiser.device))
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
        indices: Sequence[int] | None = None,
        batch_size: int = BATCH,
        progress: Callable[[int], None] = lambda done: None,
    ) -> Drawn:
        """Draw one sample for each label; sample k is a function of the seed, its index and its label alone.

        The `indices` default to 0, 1, .. Raises Diverged for samples that are not finite.
        """
        if not len(labels):
            return Drawn(torch.empty(0, *denoiser.shape), 0.0, 0.0)
        start = time.monotonic()
        with autocast(denoiser.device, self.precision), casts_kept(denoiser):
            x, evaluations = integrate(
                self.guided(denoiser),
                self.sampler,
                self.times(denoiser),
                None,
                labels,
                indices=indices,
                seed=seed,
                batch_size=batch_size,
                device=denoiser.device,
                progress=progress,
            )
        if lost := int((~x.flatten(1).isfinite().all(1)).sum()):
            raise Diverged(f"{lost} of {len(x)} samples are not finite, drawn by {self.sampler} on {self.grid}")
        return Drawn(x, evaluations, time.monotonic() - start)

    @torch.no_grad()
    def estimates(self, denoiser: AnyDenoiser, labels: Tensor, seed: int) -> list[Tensor]:
        """What the network takes samples 0, 1, .. for whenever it is asked on the way, and at last the samples."""
        guided, device = self.guided(denoiser), denoiser.device
        watch, noise = Recorder(guided.bind(labels.to(device))), SampleNoise(seed, range(len(labels)))
        with autocast(device, self.precision), casts_kept(denoiser):
            times = self.times(denoiser)
            like = torch.empty(len(labels), *denoiser.shape, device=device)
            with tabulated(guided, times):
                start = scale(guided.schedule(times[0]).sigma, noise(like, 0))
                ((_, end),) = deque(trajectory(watch, self.sampler, times, start, noise), maxlen=1)
        return [*watch.estimates, end.cpu()]


class Trained(NamedTuple):
    """A run as a command finds it, with the recipe that it is to be sampled by."""

    run: Run
    denoiser: AnyDenoiser
    weights: str  # "ema=0.999"
    recipe: Recipe
    data: DataModule


def trained(config: Mapping[str, Any], word: str = "run") -> Trained:
    """The run of a plain configuration, its recipe being the run's own but for what is chosen; `word` as in `find`.

    Raises ValueError if there is no such run, if it has no weights, or if the recipe does not go with it.
    """
    run = find(Path(config["runs_dir"]), config["run"], word)
    device = best_device(config.get("trainer", {}).get("accelerator", "auto"))
    if run.changes:
        remark(run.changes)
    with made_from(run.folder):
        own, (denoiser, weights) = run.config, load_denoiser(run, config["ema"])
        chosen = {key: own[key] if config.get(key) is None else config[key] for key in RECIPE}
        if "_target_" not in chosen["sampler"]:  # another path alone
            chosen["sampler"] = {**own["sampler"], **chosen["sampler"]}
        data = data_of(run, config.get("data"), device, config.get("first_stage"))
        found = FoundTimes(TensorCache(Path(config["runs_dir"]) / ".cache"), Seen(own["protocol"], data))
        recipe = Recipe.of(chosen, settle_precision(config["precision"] or own["precision"], device), found)
        prompts = Prompts.of(config.get("prompts") or (), config.get("negative"))
        look_up([denoiser, *beside(*recipe.guidance.parts)], data, prompts, facts_of(run), run.folder.name)
        recipe.dry_run(denoiser)
        return Trained(run, denoiser.to(device), weights, recipe, data)


def data_of(
    run: Run,
    elsewhere: Mapping[str, Any] | None = None,
    device: torch.device | str = "cpu",
    first_stage: str | None = None,
) -> DataModule:
    """The data that a run was trained on, where they lay then, or at the `source.root` that `elsewhere` gives.

    Of latents the first stage is found by its weights, or under the name `first_stage`. Raises ValueError if what lies
    there has another content, once it is loaded.
    """
    config, root = run.config, root_of(elsewhere)
    if first_stage:
        config = {**config, "first_stage": {**(config.get("first_stage") or {}), "run": first_stage}}
    data = data_module({**config, "data": located(run, root)}, device, pairs=None)
    if root is None:
        return data
    images, known = data.images, config.get("origins", {}).get("data", {})
    sums = {"images": images.train.labelled_sha256, "lookup": images.lookup_sha256, "held_out": images.held_out_sha256}
    for key, what in (("images", "training images"), ("lookup", "captions"), ("held_out", "held-out images")):
        if known.get(key) not in (None, sums[key]):  # earlier versions did not keep held_out
            reason = f"holds other {what} than {run.folder.name} was made with: their sha256 differs"
            raise ValueError(f"data.source.root={root} {reason}; name the folder with the same files")
    return data


def root_of(data: Mapping[str, Any] | None) -> str | None:
    """The `data.source.root` of a configuration that takes a run, if it has one."""
    root: str | None = (data or {}).get("source", {}).get("root")
    return root


def located(run: Run, root: str | None) -> dict[str, Any]:
    """The configuration of a run's data, at another root if one is given. Raises ValueError if they have no root."""
    node: dict[str, Any] = run.config["data"]
    if root is None:
        return node
    if "root" not in node["source"]:
        raise ValueError(f"data.source.root={root}: the data of {run.folder.name} come from no folder")
    return {**node, "source": {**node["source"], "root": root}}


def provenance(config: Mapping[str, Any]) -> dict[str, Any]:
    """Chosen options of sampling, command and study of a configuration."""
    choices = config.get("choices", {})
    sampling = {key: choices[key] for key in RECIPE if key in choices}
    return {"choices": sampling, "command": config.get("command", ""), "study": config.get("study")}
