"""The laws of each kind of part, and the parts that it is combined with."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from difflab.cli.parts import Part, ours
from difflab.denoiser.first_stage import FirstStage
from difflab.guidance.base import Chain
from difflab.guidance.classifier_free import ClassifierFree
from difflab.laws import backbones, data, grids, guidance, paradigms, samplers, schedules, targets, times, weightings
from difflab.laws.calls import takes
from difflab.laws.labelled import Labelled
from difflab.laws.worst import Worst, worst
from difflab.paradigm.base import Paradigm
from difflab.paradigm.diffusion import Diffusion
from difflab.process.discrete import LinearBetas
from difflab.process.schedule import VE, VP, Linear, Schedule
from difflab.sampler.base import Sampler

CONTINUOUS = (VP(), VE(), Linear())
Law = Callable[..., Worst]


@dataclass(frozen=True)
class Finding:
    """A law as a sentence, and its worst case; or why it does not apply."""

    law: str
    worst: Worst | None
    reason: str = ""

    @property
    def fails(self) -> bool:
        """Whether the part breaks the law."""
        return self.worst is not None and not self.worst.holds


def sentence(law: Law) -> str:
    """The first sentence of a law's docstring."""
    first = " ".join((inspect.getdoc(law) or law.__name__).split("\n\n")[0].split())
    return first.partition(". ")[0].rstrip(".")


def held(law: Law, cases: Iterable[tuple[Any, ...]], **more: object) -> Finding:
    """A law over cases, each the law's arguments; an error that a case raises breaks the law."""

    def one(case: tuple[Any, ...]) -> Worst:
        try:
            return law(*case, **more)
        except Exception as error:  # what a part of somebody else's may raise is not known here
            return Worst(f"{type(error).__name__}: {error}", math.inf, 0.0)

    return Finding(sentence(law), worst(map(one, cases)))


def apart(law: Law, reason: str) -> Finding:
    """A law that does not apply."""
    return Finding(sentence(law), None, reason)


def of_sampler(part: Part) -> Iterator[Finding]:
    """Adaptive samplers have no grid, those of order 0 converge to nothing, and some refuse discrete schedules."""
    sampler, home = part.built, [(part.built, VP())]
    adaptive, discrete = sampler.evaluations is None, LinearBetas(T=1000)
    yield held(samplers.discrete_schedules_are_taken_at_their_steps, [(sampler, discrete)])
    yield held(samplers.pure_noise_is_taken_or_refused, [(sampler, Linear())])
    everywhere = [(sampler, schedule) for schedule in (*CONTINUOUS, *([discrete] if taken(sampler, discrete) else []))]
    yield held(samplers.ends_in_the_data, everywhere)
    tolerance = 10 * getattr(sampler, "rtol", 1e-3) if adaptive else 0.0
    yield held(samplers.a_sample_depends_on_its_own_noise_alone, home, tolerance=tolerance)
    yield held(samplers.noise_is_drawn_as_declared, home)
    reason = "it chooses its own steps"
    for law in samplers.GRID_LAWS:
        yield apart(law, reason) if adaptive else held(law, home)
    none = f"it declares the order {sampler.order:g}: its error does not fall as a whole power of the steps"
    for law in samplers.CONVERGENT_LAWS:
        yield held(law, everywhere) if adaptive or sampler.order >= 1 else apart(law, none)
    least, converges = samplers.least_order_is_the_declared_one, sampler.order >= 1 and not adaptive
    yield held(least, [(sampler, CONTINUOUS)]) if converges else apart(least, reason if adaptive else none)


def taken(sampler: Sampler, schedule: Schedule) -> bool:
    """Whether a schedule is not refused; other errors are for the laws to report."""
    try:
        return takes(sampler, schedule)
    except Exception:
        return True


def of_schedule(part: Part) -> Iterator[Finding]:
    """Alone, and with each of our targets, training times, weightings and grids."""
    schedule = part.built
    for law in (*schedules.LAWS, *(schedules.DISCRETE_LAWS if schedule.discrete else ())):
        yield held(law, [(schedule,)])
    for law in () if schedule.discrete else schedules.DISCRETE_LAWS:
        yield apart(law, "it is continuous")
    yield from crossed(targets.LAWS, ours("target").values(), [schedule])
    yield from crossed(times.LAWS, ours("times").values(), [schedule])
    yield from crossed(weightings.LAWS, ours("weighting").values(), ours("target").values(), [schedule])
    free = [grid for grid in ours("grid").values() if grid.steps is None]
    yield from crossed(grids.LAWS, free, [schedule], [1, 10])


def crossed(laws: Iterable[Law], *sides: Iterable[Any]) -> Iterator[Finding]:
    """Laws of several parts, over all combinations of them."""
    cases = [*itertools.product(*sides)]
    yield from (held(law, cases) for law in laws)


def of_target(part: Part) -> Iterator[Finding]:
    """On each of our schedules."""
    yield from crossed(targets.LAWS, [part.built], ours("schedule").values())
    law = weightings.errors_convert_by_the_determinant
    yield from crossed([law], [part.built], ours("target").values(), ours("schedule").values())


def of_times(part: Part) -> Iterator[Finding]:
    """On each of our schedules."""
    yield from crossed(times.LAWS, [part.built], ours("schedule").values())


def of_weighting(part: Part) -> Iterator[Finding]:
    """For each of our targets on each of our schedules."""
    sides = [part.built], ours("target").values(), ours("schedule").values()
    yield from crossed(weightings.LAWS, *sides)
    for law in weightings.CARRIED_LAWS:
        simple = all(part.built(VP(), target, torch.full((1,), 0.5)).eq(1).all() for target in ours("target").values())
        yield apart(law, "it is 1 on every target") if simple else held(law, itertools.product(*sides))


def of_grid(part: Part) -> Iterator[Finding]:
    """On each of our schedules, at several numbers of steps; one that states its own times, on the one it fits."""
    grid = part.built
    steps = (1, 2, 10, 50) if grid.steps is None else (grid.steps,)
    fitting = [schedule for schedule in ours("schedule").values() if schedule.t_max >= 1000 or grid.steps is None]
    yield from crossed(grids.LAWS, [grid], fitting, steps)


def of_guidance(part: Part) -> Iterator[Finding]:
    """On an exact denoiser of two classes; what limits the guidances before it, after classifier-free guidance."""
    own, denoiser = part.built, Labelled(VP())
    whole = Chain((ClassifierFree(3.0), own)) if getattr(own, "limits", False) else own
    for law in guidance.LAWS:
        yield held(law, [(whole, denoiser)])
    for law in guidance.OFF_LAWS:
        if hasattr(own, "scale"):
            yield held(law, [(dataclasses.replace(own, scale=1.0), denoiser)])
        else:
            yield apart(law, "it has no scale")


def of_backbone(part: Part) -> Iterator[Finding]:
    """Each law of networks that generate."""
    denoises = hasattr(part.built, "learned_variance")
    for law in backbones.LAWS:
        yield held(law, [(part.built,)]) if denoises else apart(law, "it does not denoise: it classifies, or encodes")


def of_data(part: Part) -> Iterator[Finding]:
    """Each law of data."""
    yield from (held(law, [(part.built,)]) for law in data.LAWS)


def of_paradigm(part: Part) -> Iterator[Finding]:
    """As it is trained on points, or what classifies on images."""
    model = part.built
    learns, generates = any(p.requires_grad for p in model.learned.parameters()), isinstance(model, Diffusion)
    for law in paradigms.LAWS:
        yield held(law, [(model,)])
    for law in paradigms.TRAINED_LAWS:
        yield held(law, [(model,)]) if learns else apart(law, "it has no parameters")
    one_step = isinstance(model.learned, FirstStage) or getattr(model.learned, "whole_way", False)
    for law in paradigms.OPTIMUM_LAWS:
        yield apart(law, "it is no denoiser, whose optimum is known") if one_step else held(law, [(model,)])
    for own in paradigms.DENSITY_LAWS:
        known = generates and not one_step
        yield held(own, [(model,)]) if known else apart(own, "it has no density that is known at an optimum")
    known = generates and known_terms(model)
    for own in paradigms.TERM_LAWS:
        yield held(own, [(model,)]) if known else apart(own, "it has terms whose least value is not known here")


def known_terms(model: Paradigm) -> bool:
    """Whether the least value of each term of the loss is known; not of a loss that raises, as other laws show."""
    try:
        return paradigms.terms(model) <= {*paradigms.TERMS}
    except Exception:
        return False


FINDINGS: dict[str, Callable[[Part], Iterator[Finding]]] = {
    "sampler": of_sampler,
    "schedule": of_schedule,
    "target": of_target,
    "times": of_times,
    "weighting": of_weighting,
    "grid": of_grid,
    "guidance": of_guidance,
    "range": of_guidance,
    "backbone": of_backbone,
    "data": of_data,
    "paradigm": of_paradigm,
}
