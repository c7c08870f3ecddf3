"""What takes generated samples in and measures them."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor
from torchmetrics import MeanMetric, Metric, MetricCollection

from difflab.data.images import Split
from difflab.data.module import DataModule
from difflab.experiment.evaluation.kinds import ByKind
from difflab.experiment.model.trained_contrast import TrainedContrast
from difflab.metric.cache import Cache
from difflab.metric.classes import InceptionScore, correct
from difflab.metric.gather import gathered
from difflab.metric.memorisation import Copies, Memorisation
from difflab.metric.reference import compared, keeper_names, keepers

if TYPE_CHECKING:
    from difflab.experiment.evaluation.protocol import Protocol


class Meter:
    """Measures the n samples of a protocol, which come in batches, in any order, on one process or several.

    Each batch is seen once by each network. All processes of a group compute, also one that saw no sample.
    """

    def __init__(self, protocol: Protocol, data: DataModule, classes: int, cache: Cache) -> None:
        self.protocol, self.data, self.classes, self.cache = protocol, data, classes, cache
        metrics: dict[str, Metric | MetricCollection] = {**keepers(protocol.extractor, protocol.n)}
        metrics["copies"] = Copies(data.measured.train, data.measured.test, cache)
        if protocol.classifier:
            metrics["is_classifier"] = InceptionScore(protocol.classifier.classes)
            if classes:  # of the labels
                metrics["class_accuracy"] = MeanMetric(dist_sync_fn=gathered).set_dtype(torch.float64)
        if protocol.contrastive and classes:
            metrics["retrieval"] = protocol.contrastive.retrieval()
        self.metrics = MetricCollection(metrics, compute_groups=False)
        asked = protocol.labels_for(data, classes)
        self.kinds = (
            ByKind(protocol.extractor, data.kind(asked), data.kind_names) if classes and data.kind_names else None
        )

    def update(self, samples: Tensor, labels: Tensor, k: Tensor) -> None:
        """Take in the samples k, int64 (N,), as stored, with the labels that they were drawn for."""
        x, classifier = self.data.codec.measure(samples), self.protocol.classifier
        features = self.protocol.extractor(x)
        seen = {"samples": x, "k": k, "seen": features}
        if classifier:
            seen["log_probs"] = log_probs = classifier(x)["log_probs"]
            seen["value"] = correct(log_probs, self.data.kind(labels))  # of which torchmetrics has the mean
        if "retrieval" in self.metrics:
            pair, names = cast(TrainedContrast, self.protocol.contrastive), self.data.images.names
            asked = pair.texts([names[k] for k in labels.tolist()])
            seen |= {"images": pair.images(x), "texts": asked, "label": labels}
        self.metrics.update(**seen)
        if self.kinds:
            self.kinds.update(features, k)

    def by_kind(self) -> dict[str, dict[str, float]]:
        """The scores of each kind of samples that captions ask for, as a style; none of other data."""
        pairing, *_ = self.protocol.pairings(self.data)
        return self.kinds.compute(*pairing, self.data.kind, self.cache) if self.kinds else {}

    def compute(self) -> tuple[dict[str, float], Memorisation]:
        """Each score of all samples beside its floor; and their nearest training samples.

        Raises ValueError unless there are n samples.
        """
        protocol, found = self.protocol, self.metrics.compute()
        copies: Memorisation = found["copies"]
        if (n := len(copies.closeness)) != protocol.n:
            raise ValueError(f"n={protocol.n} samples are measured together, not {n}")
        (main, other), *_ = protocol.pairings(self.data)
        kept = [found[name] for name in keeper_names(protocol.extractor)]
        scores = compared(protocol.extractor, kept, n, main, other, self.cache, *protocol.references[1:])
        if protocol.classifier:
            held_out = self.data.measured.test
            floors = protocol.classifier.floors(n, Split(held_out.x, self.data.kind(held_out.y)), self.cache)
            for name, floor_ in floors.items():
                if name in found:
                    scores |= {name: found[name].item(), f"{name}_floor": floor_}
        if protocol.contrastive and "retrieval" in self.metrics:
            labels = protocol.labels_for(self.data, self.classes)
            scores |= protocol.contrastive.scores(found) | protocol.contrastive.floors(labels, self.data.images)
        return scores | protocol.reconstruction(self.data, self.cache) | copies.scores, copies
