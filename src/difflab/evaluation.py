"""Measuring samples against real images, with the protocol beside every number."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from difflab.config import build, suggestion
from difflab.data.images import to_float, to_stored
from difflab.data.module import DataModule
from difflab.metric.card import ProtocolCard
from difflab.metric.features import Extractor
from difflab.metric.reference import measure
from difflab.paradigm.diffusion import Diffusion
from difflab.sampling import Recipe, balanced

SPLITS = ("test", "train")
LIKELIHOOD_BATCH = 500


@dataclass(frozen=True)
class Protocol:
    """What is measured against what: `n` samples, the reference split, the feature extractor, the seed of the noise.

    And the likelihood of `n_likelihood` held-out samples.
    """

    n: int
    reference: str
    extractor: Extractor
    seed: int
    n_likelihood: int

    @classmethod
    def of(cls, config: Mapping[str, Any], device: torch.device) -> Protocol:
        """The protocol that a plain configuration says. Raises ValueError for a split that does not exist."""
        if config["reference"] not in SPLITS:
            raise ValueError(f"protocol.reference={config['reference']}; {suggestion(config['reference'], SPLITS)}")
        extractor = build(config["extractor"], device=device)
        return cls(config["n"], config["reference"], extractor, config["seed"], config["n_likelihood"])

    def rehearse(self, data: DataModule) -> None:
        """See that these images can be measured, if any are. Raises ValueError, with the way out, if they cannot."""
        if self.n == 0:
            return
        if self.n_likelihood < 0 or self.n_likelihood == 1:
            raise ValueError(f"n_likelihood={self.n_likelihood}: give 0, or two samples at least")
        if self.n < 2:
            raise ValueError(f"n={self.n}: a distance between distributions takes two images at least")
        try:
            self.extractor(data.images.test.x[:1])
        except ValueError as error:
            raise ValueError(f"{error}; protocol.n=0 trains without measuring") from error


def likelihood(model: Diffusion, data: DataModule, n: int) -> dict[str, float]:
    """Bits/dim of `n` samples spread over the held-out split, with its standard error; nothing where there is none.

    A value or an upper bound, as the paradigm says: compare bounds with bounds. Where the law behind the data is known
    the floor is what that law itself gives to the same samples.
    """
    if not n or not model.denoiser.density:
        return {}
    test, device = data.images.test, model.denoiser.device
    chosen = torch.linspace(0, len(test) - 1, min(n, len(test))).round().long()
    x, y = to_float(test.x[chosen]), test.y[chosen]
    parts = zip(torch.split(x, LIKELIHOOD_BATCH), torch.split(y, LIKELIHOOD_BATCH), strict=True)
    bits = torch.cat([model.bits_per_dim(part.to(device), label.to(device)).double().cpu() for part, label in parts])
    found = {"bits_per_dim": bits.mean().item(), "bits_per_dim_se": (bits.std() / len(bits) ** 0.5).item()}
    if log_prob := getattr(data.source, "log_prob", None):
        found["bits_per_dim_floor"] = -log_prob(x).mean().item() / (math.log(2) * x[0].numel())
    return found


def evaluate(
    model: Diffusion,
    weights: str,
    data: DataModule,
    recipe: Recipe,
    protocol: Protocol,
    cache: Path,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """Draw the protocol's samples and measure them: distances, their floors, bits/dim, the cost, and the card."""
    classes = recipe.guided(model.denoiser).classes
    drawn = recipe.draw(model.denoiser, balanced(protocol.n, classes), protocol.seed, progress=progress)
    splits = {"train": data.images.train, "test": data.images.test}
    reference = splits.pop(protocol.reference)
    (other,) = splits.values()
    scores = measure(protocol.extractor, to_stored(drawn.x), reference, other, cache)
    scores |= likelihood(model, data, protocol.n_likelihood)
    card = ProtocolCard(
        n_generated=protocol.n,
        n_reference=len(reference),
        n_likelihood=protocol.n_likelihood,
        reference=f"{type(data.source).__name__}/{protocol.reference}",
        reference_sha256=reference.sha256,
        extractor=protocol.extractor.name,
        extractor_sha256=protocol.extractor.sha256,
        resize=protocol.extractor.resize,
        sampler=str(recipe.sampler),
        grid=str(recipe.grid),
        path="as trained" if recipe.path is None else str(recipe.path),
        nfe=drawn.evaluations,
        guidance=str(recipe.guidance),
        weights=weights,
        labels="balanced" if classes else "none",
        precision=recipe.precision,
        seed=protocol.seed,
    )
    return {"metrics": scores, "nfe": drawn.evaluations, "sampling_seconds": drawn.seconds, "card": card.to_dict()}
