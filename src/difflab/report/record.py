"""A record: an evaluation as it was left beside its run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from difflab.experiment.parts.errors import made_from, printable
from difflab.experiment.parts.identity import seeds
from difflab.experiment.picture.files import check_png
from difflab.experiment.store.run import Run
from difflab.experiment.store.stored import check_entries, check_fields, is_number
from difflab.experiment.store.stored_evaluation import PICTURES, load_evaluation
from difflab.experiment.store.summary import Summary, summary_of
from difflab.metric.card import ProtocolCard, digest
from difflab.report.identity import typed_identity
from difflab.report.statistics import Seeds
from difflab.report.text import as_text
from difflab.report.words import sampling_words

RESULT = {  # types of what a report reads of the result of a training
    **{"training": Mapping[str, float], "denoising_error": Mapping[str, float], "straightness": float},
    "residual": list[list[float | None]],
}


@dataclass(frozen=True)
class Record:
    """One evaluation of one run. `name` is the fingerprint of its card, which names its files."""

    run: Run
    name: str
    config: Mapping[str, Any]  # of the run
    card: ProtocolCard
    metrics: Mapping[str, float]
    cost: Mapping[str, float | str]
    choices: Mapping[str, Any]  # of the options of sampling
    command: str
    notes: Mapping[str, str] = field(default_factory=dict)  # what a reader must know of each score
    study: str = ""  # the name that the evaluation was given, or its training

    @property
    def seed(self) -> int:
        """The seed of the training."""
        return int(self.config["seed"])

    @property
    def noise_seed(self) -> int:
        """The seed of the sampling noise."""
        return self.card.seed

    @cached_property
    def seeds(self) -> Seeds:
        """The seeds of training and noise. Records of two different cells are a pair if these agree."""
        return seeds(self.config), self.noise_seed

    @cached_property
    def pictures(self) -> dict[str, Path]:
        """The pictures beside it, by kind: samples, steps, pairs. A file that is none is left out, and named."""
        found = {}
        for kind in PICTURES:
            try:
                found[kind] = check_png(self.run.folder / "evaluations" / f"{self.name}-{kind}.png")
            except FileNotFoundError:
                continue
            except ValueError as error:
                print(printable(f"difflab-report: left out: {error}"), file=sys.stderr)
        return found

    def check(self) -> None:
        """Read what a report reads of its run. Raises for what is of no such type."""
        check_fields(self.config["data"], {"classes": int, "shape": list[int]}, self.run.folder / "config.yaml")
        check_fields(self.config["choices"], {"paradigm": str, "data": str}, self.run.folder / "config.yaml")
        given = {key: hint for key, hint in RESULT.items() if key in self.result}
        check_fields(self.result, given, self.run.folder / "result.json")
        if not all(map(is_number, self.result.get("training", {}).values())):
            raise ValueError(f"{self.run.folder / 'result.json'} is damaged: its training holds what is no number")
        [float(level) for level in self.result.get("denoising_error", {})]
        digest([self.identity, self.seeds, self.protocol, sampling_words(self.card, self.choices)])

    @cached_property
    def result(self) -> dict[str, Any]:
        """The result of the training; empty if it did not finish."""
        return self.run.result or {}

    @cached_property
    def summary(self) -> Summary:
        """What only torch can compute of its run: identity, curves of noise levels, names of classes."""
        return summary_of(self.run, self.config)

    @cached_property
    def identity(self) -> dict[str, str]:
        """All that decides the trained weights, seeds apart, by dotted keys."""
        return typed_identity(self.summary.identity)

    @cached_property
    def cell(self) -> str:
        """A digest of the identity and the card, seeds apart: repetitions have the same."""
        return digest([self.identity, {**self.card.to_dict(), "seed": None}])

    @cached_property
    def protocol(self) -> dict[str, str]:
        """All that must agree before two records are compared."""
        fields = {key: as_text(value) for key, value in self.card.protocol.items()}
        return {"data": self.config["choices"]["data"], **fields}


def refuse(error: ValueError) -> None:
    """Raise the error: no file may be left out."""
    raise error


def read_records(runs: Sequence[Run], unreadable: Callable[[ValueError], None] = refuse) -> list[Record]:
    """All evaluations of the runs. `unreadable` gets an error that names the file for each that cannot be read."""
    records = []
    for run in runs:
        paths = sorted((run.folder / "evaluations").glob("*.json"))
        try:
            config = config_of(run) if paths else {}
        except (ValueError, OSError) as error:
            unreadable(ValueError(str(error)))
            continue
        for path in paths:
            try:
                records.append(read_record(run, config, path))
            except (ValueError, OSError) as error:
                unreadable(ValueError(str(error)))
    return records


def config_of(run: Run) -> dict[str, Any]:
    """The configuration of a run. Raises ValueError if it is damaged, or was written by an older difflab."""
    check_entries(run.folder)
    config = run.config
    if not {"choices", "command"} <= config.keys():
        raise ValueError(f"{run.folder}/config.yaml has no choices: an older difflab wrote it; train it again")
    return config


def read_record(run: Run, config: Mapping[str, Any], path: Path) -> Record:
    """One evaluation from its file. Raises ValueError if the file is damaged."""
    try:
        fields = load_evaluation(path)
    except ValueError as error:
        raise ValueError(f"{error}; remove it, and evaluate again") from error
    metrics, cost, choices, command = (fields[key] for key in ("metrics", "cost", "choices", "command"))
    card, notes = ProtocolCard(**fields["card"]), fields.get("notes", {})  # of which older evaluations have none
    study = fields.get("study") or config.get("study") or ""
    record = Record(run, path.stem, config, card, metrics, cost, choices, command, notes, study)
    with made_from(run.folder):
        record.check()
    return record
