"""A classifier trained on the data, to measure generated samples with."""

from __future__ import annotations

import hashlib
from typing import ClassVar, cast

import torch
from safetensors.torch import save
from torch import Tensor, nn
from typing_extensions import override

from difflab.data.codec import Pixels
from difflab.data.images import Split
from difflab.denoiser.classifier import Classifier, ClassifierBackbone
from difflab.experiment.model.from_run import FromRun
from difflab.metric.cache import Cache
from difflab.metric.classes import class_accuracy, inception_score_at
from difflab.metric.distance import kernel, kernel_within, thinned
from difflab.metric.extrapolated import Halves, frechet_and_limit
from difflab.metric.features import FrozenNetwork, Score
from difflab.metric.manifold import EQUAL_SETS, comparable_manifold
from difflab.metric.reference import real_features
from difflab.metric.sample_size import InverseBias, Unbiased
from difflab.process.gaussian import scale
from difflab.process.ranges import Share

TRAIN_ONE = "difflab-train paradigm=classifier, with the data= that is measured, trains one"


class TrainedClassifier(FrozenNetwork):
    """What a run of paradigm=classifier sees in images: features, and log p(y | x).

    An extractor of features, or a judge of classes only. A classifier of noisy samples is asked at the least noise that
    it was trained at. Raises ValueError as `FromRun` does, and for a run that does not classify.
    """

    name: ClassVar[str] = "classifier"
    resize: ClassVar[str] = "none"
    scores: ClassVar[tuple[Score, ...]] = (
        Score("features", ("fd_classifier", "fd_inf_classifier"), frechet_and_limit, Halves, InverseBias()),
        Score.single("features", "kid_classifier", kernel, Unbiased(), kernel_within),
        Score(
            "features",
            ("precision_classifier", "recall_classifier", "density_classifier", "coverage_classifier"),
            comparable_manifold,
            size=EQUAL_SETS,
        ),
    )

    def __init__(self, run: str, runs_dir: str, ema: Share | None = None, device: torch.device | str = "cpu") -> None:
        source = FromRun(run, runs_dir, ema)
        classifier = source()
        self.run = source.found.folder.name
        if not isinstance(classifier, Classifier):
            raise ValueError(
                f"{self.run} is a {type(classifier).__name__.lower()}, which does not classify; {TRAIN_ONE}"
            )
        self.shape, self.classes = classifier.shape, classifier.classes
        weights = {name: value.contiguous() for name, value in classifier.state_dict().items()}
        self.sha256 = hashlib.sha256(save(weights)).hexdigest()
        super().__init__(ClassifierFeatures(classifier), device)

    def __str__(self) -> str:
        """Which classifier this is, in any place and under any label of its run."""
        return f"{self.run.rpartition('-')[2]} of sha256 {self.sha256[:12]}"

    @override
    def __call__(self, samples: Tensor) -> dict[str, Tensor]:
        """`features` (N, D) and `log_probs` (N, classes) on the CPU of uint8 images (N, C, H, W).

        Raises ValueError for images of another shape than it was trained on.
        """
        if samples.shape[1:] != self.shape:
            raise ValueError(
                f"{self.run} classifies images of shape {self.shape}, not {tuple(samples.shape[1:])}; {TRAIN_ONE}"
            )
        return super().__call__(samples)

    def floors(self, n: int, held_out: Split, cache: Cache) -> dict[str, float]:
        """`is_classifier` and `class_accuracy` of n held-out samples: what a perfect generator gets.

        If there are fewer, the first is extrapolated to n, and the second, whose mean does not depend on n, is of all.
        """
        seen = min(n, len(held_out))
        log_probs = real_features(self, held_out, seen, cache)["log_probs"]
        return {
            "is_classifier": inception_score_at(log_probs, n),
            "class_accuracy": class_accuracy(log_probs, thinned(held_out.y, seen)),
        }


class ClassifierFeatures(nn.Module):
    """A classifier on images as they are stored, and what its last layer sees."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier
        self.t = torch.tensor(classifier.schedule.t_min, dtype=torch.float64)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """`features` (N, D) and `log_probs` (N, classes) of images (N, 3, H, W) in 0..255, grey ones as R = G = B."""
        x0 = Pixels().encode(images[:, : self.classifier.shape[0]])
        features: list[Tensor] = []
        readout = cast(ClassifierBackbone, self.classifier.backbone).readout
        with readout.register_forward_pre_hook(lambda _, inputs: features.extend(inputs)):
            log_probs = self.classifier(scale(self.classifier.schedule(self.t).alpha, x0), self.t)
        return {"features": features[0], "log_probs": log_probs}
