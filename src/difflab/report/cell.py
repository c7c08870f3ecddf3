"""A cell of a study: evaluations that differ in their seeds alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean

from difflab.metric.direction import possible
from difflab.report.factors import factor_label
from difflab.report.record import Record
from difflab.report.statistics import Interval, Seeds, by_repetition, means, summary
from difflab.report.text import nfe_text


@dataclass(frozen=True)
class Cell:
    """Records that differ in their seeds alone. `factors` names what they are of, in the words that users type."""

    factors: Mapping[str, str]
    records: tuple[Record, ...]

    @property
    def nfe(self) -> float:
        """The NFE that the evaluations were limited to; 0 if an adaptive sampler took more than its limit.

        `cost["nfe"]` is the NFE that was counted.
        """
        nfe = self.records[0].card.nfe
        return nfe if self.cost["nfe"] <= nfe * (1 + 1e-6) else 0.0

    @cached_property
    def protocol(self) -> dict[str, str]:
        """All that must agree before two cells are compared."""
        return self.records[0].protocol

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that all records have."""
        first, *others = (record.metrics for record in self.records)
        return tuple(key for key in first if all(key in other for other in others))

    @cached_property
    def cost(self) -> dict[str, float]:
        """Means over the records: nfe (counted), seconds, seconds_per_sample, network_share, peak_memory."""
        return means([record.cost for record in self.records])

    @property
    def devices(self) -> set[str]:
        """The devices that the times were measured on."""
        return {str(record.cost.get("device", "unknown")) for record in self.records}

    @property
    def folders(self) -> set[Path]:
        """The folders of its runs."""
        return {record.run.folder for record in self.records}

    @cached_property
    def training(self) -> dict[str, float]:
        """Means over the runs: images_seen, evaluations, seconds; `_before`: of the runs that they are made from."""
        return means([run.result.get("training", {}) for run in self.runs])

    @property
    def runs(self) -> list[Record]:
        """One record of each run."""
        return list({record.run.folder: record for record in self.records}.values())

    @property
    def commands(self) -> tuple[str, ...]:
        """The commands that reproduce it: the trainings, then the evaluations."""
        trained = [str(run.config["command"]) for run in self.runs]
        return tuple(dict.fromkeys(trained + [record.command for record in self.records]))

    @property
    def label(self) -> str:
        """All its factors and its NFE."""
        return f"{factor_label(self.factors, self.factors)} nfe={nfe_text(self.nfe)}"

    def values(self, metric: str) -> dict[Seeds, float]:
        """The metric by the seeds of training and noise.

        Raises ValueError if it was not measured, or if two records have the same seeds.
        """
        if metric not in self.metrics:
            raise ValueError(f"{metric!r} was not measured of {self.label}; valid: {', '.join(self.metrics)}")
        values = {record.seeds: record.metrics[metric] for record in self.records}
        if len(values) < len(self.records):
            names = ", ".join(sorted(folder.name for folder in self.folders))
            raise ValueError(
                f"{self.label} was measured more than once with the same seeds, in {names}: "
                "give difflab-report the RUNS that you mean"
            )
        return values

    def estimate(self, metric: str, without: Collection[tuple[int, ...]] = ()) -> Interval:
        """The mean of a metric and its 95 % interval over seeds, within the range of possible values.

        Of two seeds both values are given. `without` are seeds that are left out. Raises ValueError if not measured.
        """
        by_seed, over = by_repetition(self.values(metric))
        kept = [value for seed, value in by_seed.items() if not any(seed[-len(each) :] == each for each in without)]
        found = summary(kept, over, *possible(metric))  # and the error by the held-out samples, which cells share:
        errors = [each.metrics[f"{metric}_se"] for each in self.records if f"{metric}_se" in each.metrics]
        return found if found.pair or not errors else found.widened(fmean(errors)).within(*possible(metric))
