"""A job as W&B records it: its name, its id, its configuration without secrets, and whether a sweep waits for it."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from difflab.experiment.machine.lock import locked
from difflab.experiment.parts.identity import flat
from difflab.experiment.store.files import write_text
from difflab.metric.card import AXES, digest

TAGGED = ("paradigm", "data", "backbone", "schedule", "target", "weighting", "sampler", "grid", "guidance", "range")
SECRET = "key|token|secret|passw|credential"  # in the name of a setting
SHORTEST = 4  # letters of a secret; a shorter one would be found in other words
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
    def group(self) -> str | None:
        """What it is grouped by: its study, or else the sweep that waits for it."""
        return self.study or (os.environ["WANDB_SWEEP_ID"] if self.swept else None)

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
    def owed(self) -> Path:
        """A file that is there while W&B may not have all of the job."""
        return self.folder / "wandb" / f".{self.name}.owed"

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
    """Plain values, at any depth, without keys that are named as secrets are; texts are `redacted`."""
    if isinstance(value, Mapping):
        return {k: without_secrets(v) for k, v in value.items() if not re.search(SECRET, str(k), re.IGNORECASE)}
    if isinstance(value, list):
        return [without_secrets(item) for item in value]
    return redacted(value) if isinstance(value, str) else value


def redacted(text: str, secrets: Collection[str] = ()) -> str:
    """Text without the `secrets`, and without the value in each `NAME=VALUE` whose name is that of a secret."""
    for secret in secrets:
        text = text.replace(secret, "...")
    return re.sub(rf"(?i)([\w.]*({SECRET})\w*=)\S+", r"\1...", text)


def secrets_in(config: Mapping[str, Any]) -> set[str]:
    """The values of a configuration and of the environment whose name indicates a secret."""
    named = {**os.environ, **flat(config)}
    values = {str(value) for name, value in named.items() if value and re.search(SECRET, name, re.IGNORECASE)}
    return {value for value in values if len(value) >= SHORTEST}


@contextmanager
def outside_sweep() -> Iterator[None]:
    """Keep from W&B that an agent started this process.

    It reads the agent's variables once, for all jobs of a process: the job that the sweep waits for is given them.
    """
    hidden = {name: os.environ.pop(name) for name in AGENT if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)
