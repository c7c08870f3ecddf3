"""A job as W&B records it: its name, its id, its configuration without secrets, and whether a sweep waits for it."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from difflab.experiment.files import write_text
from difflab.experiment.lock import locked
from difflab.metric.card import AXES, digest

TAGGED = ("paradigm", "data", "backbone", "schedule", "target", "weighting", "sampler", "grid", "guidance", "range")
SECRET = "key|token|secret|passw|credential"  # in the name of a setting
AGENT = ("WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH")  # by which a sweep's agent names its job


@dataclass(frozen=True)
class WandbJob:
    """A job as W&B sees it. Its id and W&B's own files lie in `folder`, under `wandb/`; `name` serves as a file's.

    `requested`: the command was started for this job, and not for another that needs it first. A W&B sweep waits for
    that one.
    """

    folder: Path
    name: str
    job_type: str
    config: Mapping[str, Any]
    study: str | None = None
    requested: bool = True

    @property
    def swept(self) -> bool:
        """Whether a W&B sweep waits for this job."""
        return self.requested and "WANDB_SWEEP_ID" in os.environ

    @property
    def id(self) -> str:
        """The id on W&B: the one that a sweep gives, or that the job had before, or else a new one."""
        path = self.folder / "wandb" / f"{self.name}.id"
        given = os.environ.get("WANDB_RUN_ID") if self.swept else None
        with locked(path, f"{path} is being written"):
            if not path.exists():
                write_text(path, given or uuid.uuid4().hex[:8])
        return given or path.read_text()

    @property
    def choices(self) -> dict[str, str]:
        """The options chosen, by group; of a list the options joined by +."""
        chosen: Mapping[str, Any] = self.config.get("choices", {})
        return {group: "+".join(option) if isinstance(option, list) else option for group, option in chosen.items()}

    @property
    def tags(self) -> tuple[str, ...]:
        """What one filters by: the options, of which W&B takes 64 letters each, and the protocol."""
        options = tuple(f"{group}:{self.choices[group]}"[:64] for group in TAGGED if group in self.choices)
        return (*options, protocol_tag(self.config["card"])) if "card" in self.config else options

    @property
    def public(self) -> Any:  # noqa: ANN401  # plain values
        """The configuration without what its name or place says is secret."""
        return without_secrets(self.config)

    def with_result(self, found: Mapping[str, Any]) -> WandbJob:
        """The job with what was chosen of sampling, and with the card, in its configuration."""
        card = found.get("card", {})
        choices = {"choices": {**self.config.get("choices", {}), **found.get("choices", {})}}
        return replace(self, config={**self.config, **choices, **({"card": card, "nfe": card["nfe"]} if card else {})})


def protocol_tag(card: Mapping[str, Any]) -> str:
    """The tag that jobs share whose numbers may be ranked together."""
    return f"protocol:{digest({key: value for key, value in card.items() if key not in AXES})[:8]}"


def without_secrets(value: Any) -> Any:  # noqa: ANN401  # plain values
    """Plain values without keys whose name tells of a secret, at any depth, and without what NAME=... gives them."""
    if isinstance(value, Mapping):
        return {k: without_secrets(v) for k, v in value.items() if not re.search(SECRET, str(k), re.IGNORECASE)}
    if isinstance(value, list):
        return [without_secrets(item) for item in value]
    if isinstance(value, str):
        return re.sub(rf"(?i)([\w.]*({SECRET})\w*=)\S+", r"\1...", value)
    return value


@contextmanager
def outside_sweep() -> Iterator[None]:
    """Keep from W&B that an agent started this process, for a job that the sweep knows nothing of."""
    hidden = {name: os.environ.pop(name) for name in AGENT if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)
