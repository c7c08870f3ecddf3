"""The protocol of a measurement: how many samples against which real ones, seen by which networks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from difflab.data.images import Split
from difflab.data.labels import in_turn
from difflab.data.latents import Latents
from difflab.data.module import DataModule
from difflab.experiment.machine.processes import rank
from difflab.experiment.machine.terminal import remark
from difflab.experiment.model.trained_classifier import TrainedClassifier
from difflab.experiment.model.trained_contrast import TrainedContrast
from difflab.experiment.parts.build import build
from difflab.experiment.parts.errors import suggestion
from difflab.metric.cache import Cache
from difflab.metric.distance import thinned
from difflab.metric.features import Extractor, widths
from difflab.metric.memorisation import calibration
from difflab.metric.reference import floor, real_features, remarks
from difflab.metric.sample_size import FEW
from difflab.objective.nearness import psnr
from difflab.process.noise import keyed

SPLITS = ("test", "train")
LABELS = ("balanced", "data")
MEASURED = 512  # samples that are compared at once


@dataclass(frozen=True)
class Protocol:
    """What is measured against what: `n` samples for each seed of the noise, with labels balanced or as in the data.

    Against the first of the `references`, which are splits, and against the others too; seen by the extractor, and by a
    classifier and a contrastive pair where there are. And the likelihood of `n_likelihood` held-out samples, or of all
    if there are fewer; with `flow_likelihood` also that of the probability flow, where there is one.
    """

    n: int
    references: Sequence[str]
    extractor: Extractor
    seeds: Sequence[int]
    n_likelihood: int
    labels: str
    classifier: TrainedClassifier | None
    flow_likelihood: bool
    contrastive: TrainedContrast | None = None

    @classmethod
    def of(cls, config: Mapping[str, Any], device: torch.device, runs_dir: str) -> Protocol:
        """The protocol that a plain configuration says. Raises ValueError for words that are none of the valid ones."""
        for key in ("n", "seed", "seeds", "n_likelihood"):
            if type(config[key]) is not int or config[key] < 0:
                raise ValueError(f"protocol.{key}={config[key]!r} should be a whole number, 0 or more")
        for key in ("classifier", "contrastive"):
            if not isinstance(config.get(key), str | None):
                raise ValueError(f"protocol.{key}={config[key]!r} should be a run's folder, or its name")
        references, labels, seeds = config["references"], config["labels"], config["seeds"]
        for split in references:
            if split not in SPLITS:
                raise ValueError(f"protocol.references={references}; {suggestion(split, SPLITS)}")
        if not references or len(set(references)) < len(references):
            raise ValueError(f"protocol.references={references}: name a split, or both; {suggestion('', SPLITS)}")
        if labels not in LABELS:
            raise ValueError(f"protocol.labels={labels}; {suggestion(labels, LABELS)}")
        if seeds < 1:
            raise ValueError(f"protocol.seeds={seeds}: at least one")
        classifier = None
        if config["classifier"]:
            classifier = TrainedClassifier(config["classifier"], runs_dir, device=device)
        pair = config.get("contrastive")  # which earlier protocols have not
        contrastive = TrainedContrast(pair, runs_dir, device=device) if pair else None
        extractor = extractor_of(json.dumps(config["extractor"]), device)
        noise = range(config["seed"], config["seed"] + seeds)
        n, n_likelihood, flow = config["n"], config["n_likelihood"], config.get("flow_likelihood", True)  # as before
        if not isinstance(flow, bool):
            raise ValueError(f"protocol.flow_likelihood={flow!r} should be true or false")
        return cls(n, references, extractor, noise, n_likelihood, labels, classifier, flow, contrastive)

    def dry_run(self, data: DataModule) -> None:
        """See that these images can be measured, if any are. Raises ValueError, with the way out, if they cannot."""
        if self.n == 0:
            return
        if self.n_likelihood and self.likelihoods(data) < 2:
            raise ValueError(
                f"n_likelihood={self.n_likelihood} of {len(data.images.test)} held-out samples: give 0, or two at least"
            )
        if self.n < 2:
            raise ValueError(f"n={self.n}: a distance between distributions takes two images at least")
        if self.classifier and self.classifier.classes != data.kinds:
            raise ValueError(f"{self.classifier} has {self.classifier.classes} classes, the data have {data.kinds}")
        if self.contrastive:
            self.contrastive.check(data)
        try:
            one = data.codec.measure(data.images.test.x[:1])
            for extractor in filter(None, (self.extractor, self.classifier)):
                widths(extractor, one.dtype, one.shape)
        except ValueError as error:
            raise ValueError(f"{error}; protocol.n=0 trains without measuring") from error

    def print_notes(self, data: DataModule) -> None:
        """Print, before any work and in one process, what a reader must know of the numbers of samples."""
        if rank() or not self.n:
            return
        by_text: dict[str, list[str]] = {}
        for name, text in self.notes(data).items():
            by_text.setdefault(text, []).append(name)
        for text, names in by_text.items():
            remark(f"note on {', '.join(names)}: {text}")

    def likelihoods(self, data: DataModule) -> int:
        """Of how many held-out samples the likelihood is taken: n_likelihood, or all if there are fewer."""
        return min(self.n_likelihood, len(data.images.test))

    def notes(self, data: DataModule) -> dict[str, str]:
        """What a reader must know of the numbers of samples, by score: where they are too few, where floors come from.

        Known before anything is measured; kept beside the numbers.
        """
        one, held_out = data.codec.measure(data.images.test.x[:1]), len(data.images.test)
        lines: dict[str, list[str]] = {}
        suffixes = ("", *(f"_vs_{name}" for name in self.references[1:]))
        for suffix, (reference, other) in zip(suffixes, self.pairings(data), strict=True):
            lines |= remarks(self.extractor, one, self.n, len(reference), len(other), suffix)
        if self.classifier and held_out < self.n:
            lines["is_classifier"] = [f"floor extrapolated to n={self.n} from {held_out} real samples"]
        if held_out < FEW:
            lines["copies"] = [f"its threshold, which 1 % of held-out samples pass, is of {held_out}"]
        if data.codec.space and self.n_likelihood:
            lines["bits_per_dim"] = ["not measured: the density of latents is none of the samples"]
        elif 0 < (used := self.likelihoods(data)) < FEW:
            lines["bits_per_dim"] = lines["bits_per_dim_bound"] = [f"only {used} held-out samples"]
        return {name: "; ".join(each) for name, each in lines.items()}

    def labels_for(self, data: DataModule, classes: int) -> Tensor:
        """The labels of the samples 0, 1, .., `classes` being what the denoiser knows; int64 (n,)."""
        if self.labels == "balanced" or not classes:
            return in_turn(self.n, classes, data.images.looked_up(data.images.test))
        y = data.images.train.y
        return y[torch.randint(len(y), (self.n,), generator=keyed(0))]

    def prepare(self, data: DataModule, cache: Cache) -> None:
        """Have what is known of the real samples in the cache, so that measuring does not wait for it."""
        train, test = data.measured.train, data.measured.test
        for reference, other in self.pairings(data):
            floor(self.extractor, reference, other, self.n, cache)
        if self.classifier:
            real_features(self.classifier, test, self.n, cache)
        calibration(train, test, cache)

    def pairings(self, data: DataModule) -> list[tuple[Split, Split]]:
        """Each reference split, and the other one, whose samples make its floor."""
        train, test = data.measured.train, data.measured.test
        splits = {"train": (train, test), "test": (test, train)}
        return [splits[name] for name in self.references]

    def reconstruction(self, data: DataModule, cache: Cache) -> dict[str, float]:
        """Of latents, `KEY_reconstruction`: what the real samples of the floor get once encoded and decoded.

        And the mean PSNR of held-out samples in dB. A draw of the latents is decoded, as models see them.
        """
        codec = data.codec
        if not isinstance(codec, Latents):
            return {}
        (main, other), *_ = self.pairings(data)
        test = fewer(data.images.test, self.n)
        stored = test if other.sha256 == data.measured.test.sha256 else fewer(data.images.train, self.n)
        again = codec.reconstructed(stored)
        found = floor(self.extractor, main, Split(codec.measure(again.x), again.y), self.n, cache)
        parts = (torch.split(codec.inner.encode(each.x), MEASURED) for each in (codec.reconstructed(test), test))
        found["psnr"] = torch.cat([psnr(*pair) for pair in zip(*parts, strict=True)]).mean().item()
        return {f"{name}_reconstruction": value for name, value in found.items()}

    def floors(self, data: DataModule, cache: Cache) -> dict[str, float]:
        """The floors of the scores against the first reference."""
        (main, other), *_ = self.pairings(data)
        return floor(self.extractor, main, other, self.n, cache)


@lru_cache(maxsize=1)
def extractor_of(words: str, device: torch.device) -> Extractor:
    """The extractor of a plain configuration in JSON: a frozen network, which the jobs of a study share."""
    extractor: Extractor = build(json.loads(words), device=device)
    return extractor


def fewer(split: Split, n: int) -> Split:
    """Of a split n samples, spread over it, or all if there are fewer."""
    return Split(thinned(split.x, min(n, len(split))), thinned(split.y, min(n, len(split))))
