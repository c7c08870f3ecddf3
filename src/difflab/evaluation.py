"""Measuring samples against real images, with the protocol beside every number."""

from __future__ import annotations

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
from difflab.paradigm.base import Diffusion
from difflab.sampling import Recipe, balanced

SPLITS = ("test", "train")


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
        if self.n < 2:
            raise ValueError(f"n={self.n}: a distance between distributions takes two images at least")
        try:
            self.extractor(data.images.test.x[:1])
        except ValueError as error:
            raise ValueError(f"{error}; protocol.n=0 trains without measuring") from error


def likelihood(model: Diffusion, data: DataModule, n: int) -> dict[str, float]:
    """Bits/dim of `n` samples spread over the held-out split, its standard error, and n; nothing for n = 0.

    A value or an upper bound, as the paradigm says: compare bounds with bounds.
    """
    if not n:
        return {}
    test, device = data.images.test, model.denoiser.device
    chosen = torch.linspace(0, len(test) - 1, min(n, len(test))).round().long()
    bits = model.bits_per_dim(to_float(test.x[chosen]).to(device), test.y[chosen].to(device)).double()
    return {
        "bits_per_dim": bits.mean().item(),
        "bits_per_dim_se": (bits.std() / len(bits) ** 0.5).item(),
        "n_likelihood": len(bits),
    }


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
    drawn = recipe.draw(model.denoiser, balanced(protocol.n, data.classes), protocol.seed, progress=progress)
    splits = {"train": data.images.train, "test": data.images.test}
    reference = splits.pop(protocol.reference)
    (other,) = splits.values()
    scores = measure(protocol.extractor, to_stored(drawn.x), reference, other, cache)
    scores |= likelihood(model, data, protocol.n_likelihood)
    card = ProtocolCard(
        n_generated=protocol.n,
        n_reference=len(reference),
        reference=f"{type(data.source).__name__}/{protocol.reference}",
        reference_sha256=reference.sha256,
        extractor=protocol.extractor.name,
        extractor_sha256=protocol.extractor.sha256,
        resize=protocol.extractor.resize,
        sampler=str(recipe.sampler),
        grid=str(recipe.grid),
        nfe=drawn.evaluations,
        guidance=str(recipe.guidance),
        weights=weights,
        labels="balanced" if data.classes else "none",
        precision=recipe.precision,
        seed=protocol.seed,
    )
    return {"metrics": scores, "nfe": drawn.evaluations, "sampling_seconds": drawn.seconds, "card": card.to_dict()}
