"""The costs that quality is plotted against, what the columns of costs mean, and the devices that were measured."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from difflab.report.cell import Cell
from difflab.report.statistics import means
from difflab.report.study import Study
from difflab.report.text import counted

COSTS = {"nfe": "network evaluations a sample", "seconds_per_sample": "seconds a sample"}  # by the keys of `cost`
SPENT = {"training images": "images_seen", "training NFE": "evaluations", "training s": "seconds"}
EVALUATIONS = "The network evaluations that the losses of the training took; backward passes are not counted."
MEANINGS = {
    "NFE": "The network evaluations that a sample may take.",
    "NFE counted": "The network evaluations that a sample took.",
    "s a sample": "The seconds that drawing a sample took, in batches.",
    "network share": "The share of the drawing time that was spent in the network.",
    "peak memory, MiB": "The most memory that was in use while drawing.",
    "training images": "The images that the training saw, repeated ones each time.",
    "training NFE": EVALUATIONS,
    "training s": "The seconds that the training took.",
    "seeds": "The number of trainings, which differ in their seed alone.",
}


@dataclass(frozen=True)
class Entry:
    """One value of a table: as text, and as the number that it is sorted by."""

    text: str
    value: float | None = None
    note: str = ""


def devices_note(devices: Collection[str]) -> str:
    """A warning that names the devices if the times were measured on several; empty otherwise."""
    return f"The seconds are of different devices: {'; '.join(sorted(devices))}." if len(devices) > 1 else ""


def cost_entries(cell: Cell) -> dict[str, Entry]:
    """The costs of a cell and its number of seeds; an empty entry where a cost was not measured."""
    cost, training = cell.cost, cell.training
    evaluations, runs = counted(len(cell.records), "evaluation"), counted(len(cell.runs), "training")
    return {
        "NFE counted": entry("{:.4g}", cost.get("nfe")),
        "s a sample": entry("{:.2g}", cost.get("seconds_per_sample"), note=", ".join(sorted(cell.devices))),
        "network share": entry("{:.0%}", cost.get("network_share")),
        "peak memory, MiB": entry("{:,.0f}", cost.get("peak_memory"), 2**20),
        **{name: training_entry(training, key) for name, key in SPENT.items()},
        "seeds": Entry(f"{len(cell.runs)}", len(cell.runs), f"{evaluations} of {runs}"),
    }


def training_entry(training: Mapping[str, float], key: str) -> Entry:
    """A cost of the whole training: also of the runs that it started from, or that taught it, which the note states."""
    if (before := training.get(f"{key}_before")) is None:
        return entry("{:,.0f}", training.get(key))
    return entry("{:,.0f}", training[key] + before, note=f"{before:,.0f} of them in the runs that it is made from")


def entry(form: str, value: float | None, unit: float = 1, note: str = "") -> Entry:
    """A number, printed in a format and a unit."""
    return Entry("") if value is None else Entry(form.format(value / unit), value, note)


def training_costs(study: Study) -> dict[str, list[Entry]]:
    """The costs of each training, means over its runs: a row for each cost that was measured."""
    trainings = study.trainings().values()
    spent = [means([run.result.get("training", {}) for run in runs]) for runs in trainings]
    rows = {name: [training_entry(each, key) for each in spent] for name, key in SPENT.items()}
    measured = {name: entries for name, entries in rows.items() if any(entry.text for entry in entries)}
    return measured | {"seeds": [Entry(f"{len(runs)}", len(runs)) for runs in trainings]}
