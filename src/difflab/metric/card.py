"""The protocol card: all that must agree before two numbers may be compared."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from importlib import metadata
from typing import Any

version = cache(metadata.version)  # of a package; reading its files takes milliseconds

NOISE_BEFORE = 1  # the version of the noise law that cards without one mean
# What is compared; all else is the protocol.
AXES = ("sampler", "grid", "path", "nfe", "guidance", "weights", "seed", "likelihood", "space", "extensions")


def digest(value: object) -> str:
    """A hash of plain values, the same on every machine: 16 hex digits of the sha256 of their canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def installed_versions() -> dict[str, str]:
    """Versions of the packages that decide a number."""
    return {package: version(package) for package in ("difflab", "torch")}


@dataclass(frozen=True, kw_only=True)
class ProtocolCard:
    """How a number was measured: what was generated, against what, seen by which network.

    A card holds plain values only, and `ProtocolCard(**json.loads(json.dumps(card.to_dict()))) == card`.
    """

    n_generated: int
    n_reference: int
    n_likelihood: int  # held-out samples whose bits/dim were taken, where the model has a density
    reference: str  # data set and split: "fashion16/test"
    reference_sha256: str
    extractor: str
    extractor_sha256: str
    resize: str
    sampler: str
    grid: str
    path: str  # the schedule that was sampled along: "as trained", or another
    nfe: float  # network evaluations that a sample may take; how many it took stands beside its cost
    guidance: str
    weights: str  # "ema=0.999" or "raw"
    labels: str  # how the generated labels are distributed: "balanced", "data", "none"
    classifier: str  # whose classes and scores are reported: a run of paradigm=classifier, or "none"
    precision: str  # of the network while sampling: "fp32", "bf16"
    seed: int  # of the noise
    noise: int = NOISE_BEFORE  # the version of the law that makes the noise from the seed
    likelihood: str = ""  # which bits/dim: chain, decoder and estimator; "" of earlier cards, and where none were taken
    contrastive: str = ""  # whose text alignment is reported: a run of paradigm=contrastive, or ""
    space: str = ""  # whose latents were modelled; "": the samples themselves
    selection: str = ""  # by which samples the weights were chosen among those of the training; "": the last
    extensions: str = ""  # the extensions whose classes took part, each with the sha256 of its source
    versions: dict[str, str] = field(default_factory=installed_versions, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "nfe", float(self.nfe))  # equal cards must print equally: 20 and 20.0

    def to_dict(self) -> dict[str, int | float | str | dict[str, str]]:
        """The fields as plain JSON values."""
        return asdict(self)

    @property
    def fingerprint(self) -> str:
        """The first 12 hexadecimal digits of its digest, which a card keeps when a later field means "as before"."""
        values = self.to_dict()
        if self.noise == NOISE_BEFORE:
            del values["noise"]
        for name in ("contrastive", "extensions", "likelihood", "selection", "space"):
            if not values[name]:
                del values[name]
        return digest(values)[:12]

    @property
    def protocol(self) -> dict[str, Any]:
        """The fields that must agree before numbers are ranked together: all but what is compared."""
        return {name: value for name, value in self.to_dict().items() if name not in AXES}

    def differences(self, other: ProtocolCard) -> tuple[str, ...]:
        """Names of the fields in which two cards differ."""
        return tuple(f.name for f in fields(self) if getattr(self, f.name) != getattr(other, f.name))
