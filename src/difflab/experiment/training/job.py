"""The training job: every part is built and found to fit before anything is done; see `fitting` for the doing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from PIL.Image import Image
from torch import nn

from difflab.data.images import Split
from difflab.data.module import DataModule
from difflab.denoiser.base import AnyDenoiser
from difflab.denoiser.contrast import Contrast
from difflab.denoiser.first_stage import Reconstructs
from difflab.experiment.evaluation.job import PARTS, Evaluation
from difflab.experiment.evaluation.protocol import Protocol
from difflab.experiment.machine.hardware import best_device, settle_precision
from difflab.experiment.machine.processes import several
from difflab.experiment.mirror.base import Mirrors
from difflab.experiment.mirror.wandb_job import WandbJob
from difflab.experiment.model.conditions import fill
from difflab.experiment.model.first_stage import data_module
from difflab.experiment.model.from_run import beside
from difflab.experiment.parts.identity import fingerprint, label, sources
from difflab.experiment.sampling.found_times import FoundTimes, Seen
from difflab.experiment.sampling.recipe import Recipe, provenance
from difflab.experiment.store.checkpoint import newest
from difflab.experiment.store.files import read_json
from difflab.experiment.store.run import SUFFIX, Run
from difflab.experiment.store.snapshots import averagings
from difflab.experiment.store.tensor_cache import TensorCache
from difflab.experiment.store.weights import weights_name
from difflab.experiment.training.batches import check_batches
from difflab.experiment.training.callback.pictures import reconstruction_sheet, sample_grid, similarity_matrix
from difflab.experiment.training.callback.selection import check_keep, chosen_by, selection_scores
from difflab.experiment.training.initial import initial_model
from difflab.experiment.training.longer import goes_on_from
from difflab.experiment.training.origins import origins_of
from difflab.experiment.training.strategy import Shards
from difflab.experiment.training.teacher import Teacher
from difflab.experiment.training.trainer import placed, sharded, watchers
from difflab.experiment.training.unread import check_words
from difflab.paradigm.base import Paradigm
from difflab.paradigm.diffusion import Diffusion
from difflab.paradigm.players import joint_optimizer


class Sampling(NamedTuple):
    """How the samples of a model are drawn, and what they are measured by."""

    recipe: Recipe
    protocol: Protocol


@dataclass(frozen=True)
class Training:
    """A training job whose parts have been built and found to fit; nothing is written."""

    config: Mapping[str, Any]
    origins: Mapping[str, Mapping[str, Any]]  # the data and the weights that the run is made from
    run: Run
    devices: Sequence[torch.device]  # of this host, one a process
    device: torch.device  # of this process
    data: DataModule
    model: Paradigm
    teacher: Teacher | None
    sampling: Sampling | None  # None of a model that generates nothing

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Training:
        """Build and check the job. Raises ValueError, OSError or ImportError if it cannot work."""
        devices = placed(config)
        device = best_device(config["trainer"]["accelerator"])
        config = {**config, "precision": settle_precision(config["precision"], device)}
        data = data_module(config, device)
        model = initial_model(config)
        teacher = Teacher.of(config, model, data, len(devices))
        origins = origins_of(config, data, model, teacher)
        run = Run.of(Path(config["runs_dir"]), label(config), fingerprint(config, origins))
        sampling = None
        if isinstance(model, Diffusion):
            seen_by = torch.device("cpu") if several(devices) else device  # others will measure
            found = FoundTimes(TensorCache(Path(config["runs_dir"]) / ".cache"), Seen(config["protocol"], data))
            protocol = Protocol.of(config["protocol"], seen_by, config["runs_dir"])
            sampling = Sampling(Recipe.of(config, config["precision"], found), protocol)
        guides = sampling.recipe.guidance.parts if sampling else ()
        for module in (model.learned, *beside(getattr(model, "drive", None), *guides)):
            fill(module, data)
        job = cls(config, origins, run, devices, device, data, model, teacher, sampling)
        job.check()
        return job

    def check(self) -> None:
        """Take a first step of all that is still to be done. Raises ValueError for parts that do not fit."""
        check_words(self.config, self.model, self.data)
        check_keep(self.config)
        Mirrors.of(self.config["logger"])  # which refuses one that is not installed
        watchers(self.config)
        if self.done:
            return
        if self.sampling:
            self.sampling.recipe.dry_run(cast(Diffusion, self.model).denoiser)
            self.sampling.protocol.dry_run(self.data)
        check_batches(self.config, self.model, self.data, len(self.devices), pairs=self.teacher is not None)
        averagings(self.config, self.run)  # which refuses wrong decays and numbers of snapshots
        if self.learns:
            if self.images_remaining:  # which refuses checkpoints that are damaged
                self.model.check_training()
                if checkpoint := newest(self.run):
                    checkpoint.check(self.model)
            joint_optimizer(self.model.optimisation, self.model.players)  # which refuses networks that it cannot train
            if sharded(self.config):
                Shards.check(self.model)

    @property
    def fingerprint(self) -> str:
        """The name of the run by its content."""
        return fingerprint(self.config, self.origins)

    @property
    def learns(self) -> bool:
        """Whether there is anything to train."""
        return any(p.requires_grad for p in self.model.learned.parameters())

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole budget."""
        return int(self.config["images"] // self.config["batch_size"])

    @property
    def every(self) -> int:
        """Steps between validations."""
        return int(max(1, min(self.steps, self.config["check_every"] // self.config["batch_size"])))

    @property
    def images_remaining(self) -> int:
        """Images that are still to be trained on."""
        if self.exported or not self.learns:
            return 0
        checkpoint = goes_on_from(self)
        return int((self.steps - (checkpoint.step if checkpoint else 0)) * self.config["batch_size"])

    @property
    def exported(self) -> bool:
        """Whether the averaged weights are there, with their JSON."""
        return read_json(self.run.facts) is not None and self.run.weights.exists()

    @property
    def complete(self) -> bool:
        """Whether the run is finished, with its weights."""
        return self.run.result is not None and self.exported

    @property
    def done(self) -> bool:
        """Whether the run is finished and measured."""
        return self.complete and all(each.cached_result for each in self.evaluations)

    @property
    def evaluations(self) -> list[Evaluation]:
        """The ways in which the run is to be measured: one for each seed of the noise."""
        if self.sampling is None or not self.sampling.protocol.n:
            return []
        weights = weights_name(self.config["ema"][0], self.config)
        known = self.run, cast(Diffusion, self.model), weights, self.data, *self.sampling
        context = self.cache, provenance(self.config), self.cache.extensions, chosen_by(self.config), self.run
        return [Evaluation(*known, seed, *context) for seed in self.sampling.protocol.seeds]

    @property
    def cache(self) -> TensorCache:
        """The cache of features and other results that depend on the real samples."""
        return TensorCache(Path(self.config["runs_dir"]) / ".cache", sources([self.config[key] for key in PARTS]))

    @property
    def claim(self) -> Path:
        """The file whose lock a process holds that trains the run, under any name."""
        return self.run.folder.parent / self.fingerprint[:SUFFIX]

    @property
    def there(self) -> Training:
        """The job at the folder that has its fingerprint by now: another process may have made it by another name."""
        run = Run.of(self.run.folder.parent, label(self.config), self.fingerprint)
        return self if run == self.run else replace(self, run=run)

    @cached_property
    def fitted(self) -> DataModule:
        """What is trained and validated on: the data, or the teacher's pairs in their place."""
        if self.teacher is None:
            return self.data
        return data_module(self.config, self.device, pairs=str(self.teacher.pairs))

    def wandb_job(self, requested: bool) -> WandbJob:
        """The training as W&B sees it."""
        folder = self.run.folder
        config = {**self.config, "origins": dict(self.origins)}
        return WandbJob(folder, folder.name, "train", config, self.config.get("study"), requested)

    def selection_scores(self, denoiser: AnyDenoiser) -> dict[str, float]:
        """The scores against the held-out samples that were set aside for choosing settings."""
        split = cast(Split, self.data.images.selection)
        return selection_scores(denoiser, *cast(Sampling, self.sampling), self.data, split, self.cache)

    @property
    def pictures(self) -> dict[str, Callable[[nn.Module, int], Image]]:
        """What is drawn of the averaged model at a step, by the folder that it is kept in."""
        found: dict[str, Callable[[nn.Module, int], Image]] = {}
        if self.sampling:
            found["samples"] = self.samples
        if isinstance(self.model.learned, Reconstructs) and not self.data.codec.cloud:
            found["reconstructions"] = self.reconstructions
        if isinstance(self.model.learned, Contrast):
            found["similarity"] = self.similarity
        return found

    def samples(self, denoiser: nn.Module, step: int) -> Image:
        """A grid of samples, a class a column; of points their density."""
        recipe, protocol = cast(Sampling, self.sampling)
        about = self.data, self.run.folder.name, f"Samples{self.seen(step)}"
        return sample_grid(cast(AnyDenoiser, denoiser), recipe, protocol.seeds[0], *about)

    def reconstructions(self, model: nn.Module, step: int) -> Image:
        """Held-out samples beside their reconstructions."""
        about = self.data, self.run.folder.name, f"Reconstructions{self.seen(step)}"
        return reconstruction_sheet(cast(Reconstructs, model), *about)

    def similarity(self, model: nn.Module, step: int) -> Image:
        """Held-out images against their captions."""
        about = self.data, self.run.folder.name, f"Products of images and texts{self.seen(step)}"
        return similarity_matrix(cast(Contrast, model), *about)

    def seen(self, step: int) -> str:
        """When a picture is drawn, of a model that learns."""
        trained = next(self.model.learned.parameters(), None) is not None
        return f" at step {step:,}, {step * self.config['batch_size']:,} images seen" if trained else ""
