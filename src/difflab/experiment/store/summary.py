"""RUN/summary.json: what a report reads of a run and only torch can compute, kept so that a report loads no torch.

It holds the identity of the run without its seeds, the curves of its noise levels, and the names of its classes. A
training writes it when it ends; of an earlier run the first report computes it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias, get_type_hints

from difflab.experiment.parts.build import build, target
from difflab.experiment.parts.identity import seedless, sources
from difflab.experiment.store.files import read_json, write_json
from difflab.experiment.store.run import Run
from difflab.experiment.store.stored import check_fields
from difflab.experiment.store.typed import as_typed

if TYPE_CHECKING:
    from difflab.process.schedule import Schedule

FORMAT = 1  # of the file
CURVES = ("time_share", "weight")
Points: TypeAlias = Sequence[Sequence[float]]  # of a curve: the log-SNR, and the values


@dataclass(frozen=True)
class Summary:
    """What a report reads of a run. Curves are pairs of log-SNR and values; None where there is none."""

    identity: Mapping[str, Any]  # what decides the weights, by dotted keys, without seeds
    time_share: Points | None  # of the time axis, 0 at data
    weight: Points | None  # of an error in eps in the training loss
    classes: Sequence[str]  # names, in the order of the labels


def summary_of(run: Run, config: Mapping[str, Any]) -> Summary:
    """The summary of a run with this configuration, from its file, or else computed and kept there if possible.

    A file of another configuration, another format, or another source of an extension is replaced.
    """
    if not (run.folder / "config.yaml").exists():
        return computed(run, config)
    kept = read_json(run.folder / "summary.json") or {}
    if all(kept.get(key) == value for key, value in stamp(run, config).items()):
        with suppress(ValueError):  # then it is made again
            check_fields(kept, get_type_hints(Summary), run.folder / "summary.json")
            given = [curve for curve in map(kept.get, CURVES) if curve is not None]
            if all(len(curve) == 2 and len(curve[0]) == len(curve[1]) for curve in given):
                return Summary(**{key: kept[key] for key in Summary.__dataclass_fields__})
    return keep(run, config, computed(run, config))


def keep(run: Run, config: Mapping[str, Any], summary: Summary) -> Summary:
    """Write the summary beside the run's configuration, unless the folder cannot be written to; return it."""
    with suppress(OSError):
        write_json(run.folder / "summary.json", {**stamp(run, config), **vars(summary)})
    return summary


def stamp(run: Run, config: Mapping[str, Any]) -> dict[str, Any]:
    """What a kept summary must agree with: the format, the configuration's file, and the source of extensions."""
    sha256 = hashlib.sha256((run.folder / "config.yaml").read_bytes()).hexdigest()
    return {"format": FORMAT, "config_sha256": sha256, "extensions": sources(config)}


def computed(run: Run, config: Mapping[str, Any], classes: Sequence[str] | None = None) -> Summary:
    """The summary of a run; without `classes`, the names that the class of its data set states."""
    if classes is None:
        classes = getattr(target(config["data"]["source"]["_target_"]), "names", ())
    return Summary(as_typed(seedless(config)), *curves(run, config["model"]), tuple(classes))


def curves(run: Run, model: Mapping[str, Any]) -> tuple[Points | None, Points | None]:
    """The share of the time axis and the weight over log-SNR; of a learned schedule with its trained parameters.

    None for a model without a schedule, and for a learned one whose weights are not there.
    """
    from torch import nn

    from difflab.experiment.store.weights import load_denoiser

    node = model.get("denoiser", {}).get("schedule")
    if node is None:
        return None, None
    if issubclass(target(node["_target_"]), nn.Module):
        if not run.weights.exists():  # as of a folder of results alone
            return None, None
        return drawn(load_denoiser(run)[0].schedule, model)
    return of_configuration(json.dumps(model))


@lru_cache
def of_configuration(model: str) -> tuple[Points | None, Points | None]:
    """The curves of a model's configuration, given as JSON; its repetitions and evaluations share them."""
    configuration = json.loads(model)
    return drawn(build(configuration["denoiser"]["schedule"]), configuration)


def drawn(schedule: Schedule, model: Mapping[str, Any]) -> tuple[Points | None, Points | None]:
    """The two curves of a schedule, in six digits, which is more than a chart shows."""
    from difflab.experiment.store.noise_levels import configured_weight, time_share

    found = time_share(schedule), configured_weight(schedule, model)
    share, weight = (each and [[float(f"{value:.6g}") for value in values] for values in each] for each in found)
    return share, weight
