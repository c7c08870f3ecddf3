"""The evaluation job: one way of measuring a run, named by its protocol card, done once, kept with its pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from difflab.data.module import DataModule
from difflab.denoiser.likelihood import BitsPerDim, FlowLikelihood
from difflab.experiment.evaluation.held_out import likelihood
from difflab.experiment.evaluation.meter import Meter
from difflab.experiment.evaluation.protocol import Protocol
from difflab.experiment.machine.hardware import peak_memory
from difflab.experiment.machine.lock import locked
from difflab.experiment.machine.processes import agreed, dealt, gather_rows, rank
from difflab.experiment.machine.terminal import Bars, phase, silently
from difflab.experiment.parts.identity import RECIPE, line
from difflab.experiment.picture.files import save_png
from difflab.experiment.picture.image_rows import ROWS, save_rows
from difflab.experiment.picture.measured import FOLLOWED, PAIRS, POINTS, SHOWN, UNLABELLED, Pairs, measured_sheets
from difflab.experiment.picture.samples import WIDEST, class_names, footer
from difflab.experiment.sampling.drawing_cost import drawing_cost
from difflab.experiment.sampling.recipe import BATCH, Recipe
from difflab.experiment.store.files import write_json
from difflab.experiment.store.run import Run
from difflab.experiment.store.stored_evaluation import PICTURES, read_evaluation, stored_likelihoods
from difflab.metric.cache import Cache
from difflab.metric.card import ProtocolCard, digest
from difflab.metric.memorisation import Memorisation
from difflab.paradigm.batch import place
from difflab.paradigm.diffusion import Diffusion
from difflab.process.noise import VERSION as NOISE
from difflab.sampler.evaluations import timing

PARTS = ("model", "data", *RECIPE[:3], "protocol")  # the keys of a configuration whose classes make a number
TICK = 1e-9  # seconds that pass at least, also by a clock that stands still
MEASURED = 512  # samples that are measured at once


@dataclass(frozen=True)
class Evaluation:
    """The samples of one seed of the noise that a recipe draws from a run's weights, measured by a protocol.

    `provenance` is kept beside the result: the `choices` of options, the `command` and the `study`. `extensions` are
    those whose classes take part, by package, with the sha256 of their source. `chosen_by` says how the weights were
    chosen, if they are not the last of their training. `home` is the folder that the result is kept in: the run's, or
    one beside a copy of its configuration.
    """

    run: Run
    model: Diffusion
    weights: str
    data: DataModule
    recipe: Recipe
    protocol: Protocol
    seed: int
    cache: Cache
    provenance: Mapping[str, Any]
    extensions: Mapping[str, str]
    chosen_by: str
    home: Run

    @cached_property
    def classes(self) -> int:
        """How many the guided denoiser knows."""
        return self.recipe.guided(self.model.denoiser).classes

    @cached_property
    def likelihoods(self) -> Sequence[BitsPerDim]:
        """The ways to bits/dim that are measured: none of latents, without a density, or for n_likelihood=0."""
        if not self.protocol.n_likelihood or not self.model.denoiser.has_density or self.data.codec.space:
            return ()
        every = self.model.likelihoods(self.recipe.sampler)
        return [each for each in every if self.protocol.flow_likelihood or each.score != FlowLikelihood.score]

    @cached_property
    def card(self) -> ProtocolCard:
        """All that must agree before two numbers may be compared, known before anything is drawn."""
        protocol, recipe = self.protocol, self.recipe
        images = self.data.images
        reference = {"train": images.train, "test": images.test}[protocol.references[0]]
        own_path = recipe.path in (None, self.model.denoiser.schedule)
        return ProtocolCard(
            n_generated=protocol.n,
            n_reference=len(reference),
            n_likelihood=protocol.likelihoods(self.data),
            reference=f"{type(self.data.source).__name__}/{'+'.join(protocol.references)}",
            reference_sha256=digest([images.train.sha256, images.test.sha256]),  # floors and copies see both
            extractor=protocol.extractor.name,
            extractor_sha256=protocol.extractor.sha256,
            resize=protocol.extractor.resize,
            sampler=line(recipe.sampler),
            grid=line(recipe.grid),
            path="as trained" if own_path else line(recipe.path),
            nfe=recipe.nfe if recipe.sampler.evaluations else 0,  # 0: as many as its tolerances ask
            guidance=", ".join(map(line, recipe.chain.parts)),
            weights=self.weights,
            labels=protocol.labels if self.classes else "none",
            classifier=f"sha256 {protocol.classifier.sha256[:12]}" if protocol.classifier else "none",
            contrastive=f"sha256 {protocol.contrastive.sha256[:12]}" if protocol.contrastive else "",
            precision=recipe.precision,
            seed=self.seed,
            noise=NOISE,
            likelihood=", ".join(map(line, self.likelihoods)),
            space=self.data.codec.space,
            selection=self.chosen_by,
            extensions=", ".join(f"{package} {sha256[:12]}" for package, sha256 in self.extensions.items()),
        )

    @property
    def path(self) -> Path:
        """The file of what was found."""
        return self.home.evaluations / f"{self.card.fingerprint}.json"

    @property
    def cached_result(self) -> dict[str, Any] | None:
        """The content of the file, or of the one in the run's own folder; None before it is written, and if damaged."""
        return read_evaluation(self.path) or read_evaluation(self.run.evaluations / self.path.name)

    def __call__(
        self, bar: Bars = silently, on_result: Callable[[dict[str, Any]], None] = lambda found: None
    ) -> dict[str, Any]:
        """The cached result, or else a new one, which `on_result` is called with in the first process of the job.

        One job measures; others that need the same result say that they wait, and wait.
        """
        with locked(self.path, f"{self.path} is being measured", agreed):
            if known := agreed(lambda: self.cached_result):
                return known
            if not rank() and self.path.exists():
                print(f"{self.path} is damaged, and is measured again", flush=True)
            found = self.measured(bar)
            if not rank():
                self.owed.touch()
                write_json(self.path, found)
                on_result(found)
                self.owed.unlink()
            return found

    @property
    def owed(self) -> Path:
        """A file that is there while the mirror has not been given what was found."""
        return self.path.with_name(f".{self.path.stem}.owed")

    def given(self, mirror: Callable[[], None]) -> bool:
        """Whether the mirror had to be given what was found, as the process that found it was stopped before it did."""
        if not self.owed.exists():
            return False
        with locked(self.path, f"{self.path} is being measured"):
            if owed := self.owed.exists():
                mirror()
                self.owed.unlink()
        return owed

    def measured(self, bar: Bars) -> dict[str, Any]:
        """Draw and measure, each process its share; write the pictures; what was found."""
        denoiser, protocol, data = self.model.denoiser, self.protocol, self.data
        labels = protocol.labels_for(data, self.classes)
        with phase("features of the real samples"):
            agreed(lambda: protocol.prepare(data, self.cache))
        batches, world = dealt(protocol.n, BATCH), place()[1]
        mine = torch.cat([torch.arange(0), *batches])
        start = time.monotonic()
        with timing(self.recipe.guided(denoiser)) as network, peak_memory(denoiser.device) as peak:
            with bar("samples", protocol.n) as progress:
                drawn = self.recipe.draw(
                    denoiser,
                    labels[mine],
                    self.seed,
                    mine.tolist(),
                    max(map(len, batches), default=BATCH),
                    lambda done: progress(min(done * world, protocol.n)),  # the others are about as far
                )
            began = time.monotonic()
            samples = data.codec.decode(drawn.x)
            seconds = drawn.seconds + time.monotonic() - began
            meter = Meter(protocol, data, self.classes, self.cache)
            with phase("scores"):
                for rows in torch.split(torch.arange(len(mine)), MEASURED) if batches else ():
                    meter.update(samples[rows], labels[mine[rows]], mine[rows])
                metrics, copies = meter.compute()
                kinds = {"kinds": found} if (found := meter.by_kind()) else {}
            spent = network() / max(time.monotonic() - start, TICK)
            own = {"nfe": drawn.nfe * len(mine), "seconds": seconds, "network": spent, "peak_memory": peak()}
        cost = drawing_cost(own, protocol.n, denoiser.device)
        with phase("likelihood"):
            metrics |= self.bits_per_dim()
        with phase("pictures"):
            self.draw_pictures(samples, mine, labels, copies, cost["nfe"])
        notes = {name: text for name, text in protocol.notes(data).items() if name in metrics}
        how = {"card": self.card.to_dict(), "times": self.recipe.times(denoiser).tolist()}
        return {"metrics": metrics, **kinds, "notes": notes, "cost": cost, **how, **self.provenance}

    def bits_per_dim(self) -> dict[str, float]:
        """The likelihoods: those of another evaluation of these weights that measured the same, or new ones.

        They depend on no sampler but by its chain's variance, and need no measuring for each.
        """
        folders, card = (self.home.evaluations, self.run.evaluations), self.card.to_dict()
        if (known := agreed(lambda: stored_likelihoods(folders, card))) is not None:
            return known
        return likelihood(self.model, self.data, self.protocol.n_likelihood, self.likelihoods)

    def draw_pictures(self, samples: Tensor, mine: Tensor, labels: Tensor, copies: Memorisation, nfe: float) -> None:
        """Beside the file: the first samples; the way to the first of them; and those most like training images.

        `samples` are those of this process, with the indices `mine`.
        """
        codec, images = self.data.codec, self.data.images
        likest, neighbours = copies.pairs(PAIRS)
        most = self.protocol.n if codec.cloud else SHOWN * min(self.classes, WIDEST) or UNLABELLED
        first = torch.arange(min(most, self.protocol.n))
        each = torch.arange(min(ROWS, self.protocol.n))
        shown, alike, one_by_one = (gather_rows(samples, mine, wanted) for wanted in (first, likest, each))
        if rank():
            return
        way = self.recipe.estimates(self.model.denoiser, labels[: POINTS if codec.cloud else FOLLOWED], self.seed)
        known = alike, images.train.x[neighbours], labels[likest], images.train.y[neighbours]
        pairs = None if codec.cloud else Pairs(*known)
        names = class_names(images.names, self.classes)
        below = footer(self.run.folder.name, self.recipe, nfe, self.seed)
        for what, sheet in measured_sheets(shown, way, pairs, labels, names, codec, below).items():
            save_png(sheet.image, self.beside(what))
        if not codec.cloud:
            about = labels[each], (nearest := copies.neighbour[each]), copies.closeness[each]
            save_rows(self.images, codec.show(one_by_one), codec.show(images.train.x[nearest]), *about, names)

    def beside(self, what: str) -> Path:
        """A picture's path."""
        return self.path.with_name(f"{self.path.stem}-{what}.png")

    @property
    def images(self) -> Path:
        """The file of the first samples one by one; there is none of points."""
        return self.path.with_name(f"{self.path.stem}-images.safetensors")

    @property
    def pictures(self) -> dict[str, Path]:
        """The pictures that are there, by name."""
        return {what: self.beside(what) for what in PICTURES if self.beside(what).exists()}
