"""Facts of a part beside its laws: the order and cost of a sampler, the range of a schedule, and so on."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch

from difflab.cli.check.laws import CONTINUOUS
from difflab.cli.parts import Part
from difflab.laws.calls import calls_by_step
from difflab.laws.labelled import Labelled
from difflab.laws.samplers import observed_order
from difflab.process.schedule import VP

Facts = dict[str, str]


def tried(what: Callable[[], str]) -> str:
    """A fact, or the error that the part raised while it was measured: the report goes on with the others."""
    try:
        return what()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def spread(counts: list[int]) -> str:
    """Evaluations by step, of which the last may take others."""
    *inner, last = counts
    between = f"{min(inner)}" if min(inner) == max(inner) else f"{min(inner)} to {max(inner)}"
    return between if min(inner) == last == max(inner) else f"{between}, and {last} in the step to the data"


def of_sampler(part: Part) -> Facts:
    """Order and evaluations, as declared and as found."""
    sampler = part.built
    kind = "stochastic" if sampler.stochastic else "deterministic"
    if sampler.evaluations is None:
        counted = tried(lambda: f"{sum(calls_by_step(sampler, VP(), 1))} counted on Gaussian data")
        return {"kind": kind, "evaluations": f"by tolerance; {counted}"}
    orders = tried(
        lambda: ", ".join(f"{observed_order(sampler, s):.2f} on {type(s).__name__}" for s in CONTINUOUS),
    )
    counted = tried(lambda: spread(calls_by_step(sampler, VP())))
    return {
        "kind": kind,
        "order": f"{sampler.order:g} declared; observed {orders}",
        "evaluations of a step": f"{sampler.evaluations} declared; counted {counted}",
    }


def of_schedule(part: Part) -> Facts:
    """Range of the training times and of their log-SNR."""
    schedule = part.built
    ends = torch.tensor([schedule.t_min, schedule.t_max], dtype=torch.float64)
    with torch.no_grad():
        clean, noisy = schedule.log_snr(ends).tolist()
        share = math.exp(noisy / 2)
    kind = f"discrete, {round(schedule.t_max / schedule.step)} steps" if schedule.discrete else "continuous"
    return {
        "kind": kind,
        "training times": f"{schedule.t_min:g} to {schedule.t_max:g}",
        "log-SNR": f"{clean:.2f} to {noisy:.2f}; alpha / sigma at the noise end {share:.2g}",
    }


def of_backbone(part: Part) -> Facts:
    """Parameters, and what it is built for."""
    net = part.built
    count = sum(p.numel() for p in net.parameters())
    return {"parameters": f"{count:,}", "shape": f"{[*net.shape]}, {net.classes} classes"}


def of_data(part: Part) -> Facts:
    """Sizes and stated facts."""
    data = part.built
    stated = f"shape {[*data.shape]}, {data.classes} classes, sigma_data {data.sigma_data:g}"
    sizes = tried(lambda: f"{len(data.images.train)} training, {len(data.images.test)} held out")
    return {"samples": sizes, "stated": stated, "codec": str(data.codec)}


def of_guidance(part: Part) -> Facts:
    """The evaluations of a call."""
    t = torch.tensor(0.5, dtype=torch.float64)
    return {"evaluations of a call": tried(lambda: f"{part.built(Labelled(VP())).nfe(t)} declared, at t=0.5 of VP")}


def of_paradigm(part: Part) -> Facts:
    """What is trained, and its likelihood."""
    model = part.built
    count = sum(p.numel() for p in model.learned.parameters())
    return {
        "trains": f"{model.learns} on {[*model.learned.shape]}, {count:,} parameters",
        "likelihood": ", ".join(getattr(model, "scores", ())) or "none",
    }


def nothing(part: Part) -> Facts:
    """Nothing but the laws."""
    return {}


FACTS: dict[str, Callable[[Part], Facts]] = {
    "sampler": of_sampler,
    "schedule": of_schedule,
    "backbone": of_backbone,
    "data": of_data,
    "guidance": of_guidance,
    "range": of_guidance,
    "paradigm": of_paradigm,
    **{group: partial(nothing) for group in ("target", "times", "weighting", "grid")},
}
