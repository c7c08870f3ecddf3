"""An evaluation as it was left beside its run: what was measured, of what, at what seeds, by which protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from difflab.experiment.identity import seeds
from difflab.experiment.run import Run
from difflab.metric.card import ProtocolCard, digest
from difflab.report.factors import named, shown
from difflab.report.statistics import Seeds

PICTURES = ("samples", "steps", "pairs")


@dataclass(frozen=True)
class Evaluation:
    """One measurement of one run. `name` is its card's fingerprint, which its files carry."""

    run: Run
    name: str
    config: Mapping[str, Any]  # of the run
    card: ProtocolCard
    metrics: Mapping[str, float]
    cost: Mapping[str, float | str]
    choices: Mapping[str, Any]  # of the options of sampling
    command: str

    @property
    def seed(self) -> int:
        """The seed of the training."""
        return int(self.config["seed"])

    @property
    def noise_seed(self) -> int:
        """The seed of the noise that was sampled from."""
        return self.card.seed

    @cached_property
    def seeds(self) -> Seeds:
        """Two measurements of different things are a pair if these agree."""
        return seeds(self.config), self.noise_seed

    @property
    def pictures(self) -> dict[str, Path]:
        """The pictures that lie beside it: of samples, steps, pairs."""
        paths = {kind: self.run.folder / "evaluations" / f"{self.name}-{kind}.png" for kind in PICTURES}
        return {kind: path for kind, path in paths.items() if path.exists()}

    @cached_property
    def result(self) -> dict[str, Any]:
        """What the training found; empty if it did not finish."""
        return self.run.result or {}

    @cached_property
    def identity(self) -> dict[str, str]:
        """All that decides the trained weights, seeds apart, by dotted keys."""
        return named(self.config)

    @cached_property
    def kind(self) -> str:
        """The same for measurements that differ in their seeds alone."""
        return digest([self.identity, {**self.card.to_dict(), "seed": None}])

    @cached_property
    def protocol(self) -> dict[str, str]:
        """All that must agree before this may be held against another."""
        fields = {key: shown(value) for key, value in self.card.protocol.items()}
        return {"data": self.config["choices"]["data"], **fields}
