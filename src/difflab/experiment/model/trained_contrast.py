"""Two towers trained on images and captions, to measure with how well generated images go with their texts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from difflab.data.codec import Pixels
from difflab.data.images import Images
from difflab.data.module import DataModule
from difflab.data.words import Captions
from difflab.denoiser.contrast import Contrast
from difflab.experiment.model.conditions import vocabulary_of
from difflab.experiment.model.from_run import FromRun
from difflab.experiment.store.facts import facts_of
from difflab.experiment.store.weights import sha256_of
from difflab.metric.gather import ON_CPU
from difflab.paradigm.retrieval import Retrieval

TRAIN_ONE = "difflab-train paradigm=contrastive, with the data= that is measured, trains one"
BATCH = 250  # images or texts that are seen at once


class TrainedContrast:
    """A run of paradigm=contrastive: unit vectors of images and of texts.

    Raises ValueError as `FromRun` does, and for a run of another paradigm.
    """

    def __init__(self, run: str, runs_dir: str, ema: float | None = None, device: torch.device | str = "cpu") -> None:
        source = FromRun(run, runs_dir, ema)
        contrast = source()
        self.run = source.found.folder.name
        vocabulary = vocabulary_of(facts_of(source.found))
        if not isinstance(contrast, Contrast) or vocabulary is None:
            raise ValueError(f"protocol.contrastive={self.run} is a {type(contrast).__name__}, not a pair; {TRAIN_ONE}")
        self.contrast, self.vocabulary, self.device = contrast.to(device).float(), vocabulary, torch.device(device)
        self.sha256 = sha256_of(contrast)

    def check(self, data: DataModule) -> None:
        """Raise ValueError for data without captions, and for images of another shape or type."""
        if not isinstance(data.images.lookup, Captions):
            raise ValueError(
                f"protocol.contrastive={self.run} compares images with captions, which {type(data.source).__name__} "
                f"does not give: choose data with captions, as data=emoji_captions"
            )
        one = data.codec.measure(data.images.test.x[:1])
        if one.dtype != torch.uint8 or tuple(one.shape[1:]) != self.contrast.shape:
            raise ValueError(
                f"protocol.contrastive={self.run} sees images of shape {list(self.contrast.shape)}, not "
                f"{list(one.shape[1:])}; {TRAIN_ONE}"
            )

    @torch.no_grad()
    def images(self, samples: Tensor) -> Tensor:
        """Unit vectors (N, D) on the CPU of uint8 images (N, C, H, W)."""
        parts = (Pixels().encode(part).to(self.device) for part in torch.split(samples, BATCH))
        return torch.cat([self.contrast.images(part).cpu() for part in parts])

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors (N, D) on the CPU of texts."""
        parts = torch.split(self.vocabulary(texts), BATCH)
        return torch.cat([self.contrast.vectors(part.to(self.device)).cpu() for part in parts])

    def retrieval(self) -> Retrieval:
        """What takes vectors of generated images in, and those of their texts."""
        return Retrieval(**ON_CPU)

    def scores(self, found: dict[str, Tensor]) -> dict[str, float]:
        """What a retrieval found, by the names of scores."""
        return {
            "text_alignment": found["alignment"].item(),
            "text_retrieval": found["image_to_text_R@1"].item(),
        }

    def floors(self, labels: Tensor, images: Images) -> dict[str, float]:
        """The scores of the real images of these labels, each once."""
        metric, distinct = self.retrieval(), torch.unique(labels)
        for split in (images.train, images.test):
            rows = torch.isin(split.y, distinct).nonzero().flatten()
            if len(rows):
                texts = self.texts([images.names[k] for k in split.y[rows].tolist()])
                metric.update(self.images(split.x[rows]), texts, split.y[rows])
        return {f"{name}_floor": value for name, value in self.scores(metric.compute()).items()}
