"""A group of a study: cells that were measured by one protocol, and may be compared."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from difflab.metric.card import digest
from difflab.metric.direction import scored
from difflab.report.cell import Cell
from difflab.report.floor import Floor, floor_of
from difflab.report.record import Record


@dataclass(frozen=True)
class Group:
    """Cells of one protocol, which may be compared."""

    cells: tuple[Cell, ...]
    protocol: Mapping[str, str]
    differing: Mapping[str, str]  # the fields in which the protocols of the study's groups differ, with this one's

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that any cell has, those with a real-versus-real floor first."""
        keys = tuple(dict.fromkeys(key for cell in self.cells for key in cell.metrics))
        values = [key for key in keys if scored(key) == key and not re.match("n(_|$)", key)]
        return tuple(sorted(values, key=lambda key: f"{key}_floor" not in keys))

    @property
    def devices(self) -> set[str]:
        """The devices that the times were measured on."""
        return {device for cell in self.cells for device in cell.devices}

    def with_metric(self, metric: str) -> list[Cell]:
        """The cells that have a metric."""
        return [cell for cell in self.cells if metric in cell.metrics]

    @property
    def nfes(self) -> tuple[float, ...]:
        """The NFE of the cells, rising; 0, of adaptive samplers, comes last."""
        return tuple(sorted({cell.nfe for cell in self.cells}, key=lambda nfe: nfe or math.inf))

    @property
    def records(self) -> list[Record]:
        """The evaluations of its cells."""
        return [record for cell in self.cells for record in cell.records]

    def floor(self, metric: str) -> Floor | None:
        """The score of real samples against real ones, or why there is none; None for what has no floor."""
        return floor_of(self.records, metric)

    def notes(self, metric: str) -> list[str]:
        """Where samples are too few for a score, how many were compared, and what reconstructions of latents get.

        What its floor is of stands with that.
        """
        notes = (note for record in self.records for note in record.notes.get(metric, "").split("; "))
        kept = [note for note in dict.fromkeys(notes) if note and not note.startswith(("floor", "no floor"))]
        again = f"{metric}_reconstruction"
        known = {record.card.space: record.metrics[again] for record in self.records if again in record.metrics}
        return [*kept, *(f"decoded {space} of real samples: {value:.4g}" for space, value in known.items())]


def groups_of(cells: Sequence[Cell]) -> tuple[Group, ...]:
    """The cells by protocol."""
    alike: dict[str, list[Cell]] = {}
    for cell in cells:
        alike.setdefault(digest(cell.protocol), []).append(cell)
    protocols = [each[0].protocol for each in alike.values()]
    differing = [key for key in protocols[0] if len({protocol[key] for protocol in protocols}) > 1]
    return tuple(
        Group(tuple(each), protocol, {key: protocol[key] for key in differing})
        for each, protocol in zip(alike.values(), protocols, strict=True)
    )
