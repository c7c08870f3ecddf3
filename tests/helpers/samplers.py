"""The samplers of conf/sampler on the schedules of conf/schedule, as the laws of samplers take them."""

import dataclasses
import itertools

from difflab.process.discrete import Betas
from difflab.sampler.ancestral import Ancestral
from difflab.sampler.ddim import DDIM
from difflab.sampler.resampling import Resampling
from helpers.closed_forms import between
from helpers.conf import samplers, schedules

RESAMPLING = [Resampling(Ancestral(), 3), Resampling(DDIM(), 3)]


def convergent():
    """All samplers, with 3 repeats in place of the 10 of repaint, which show the same in a third of the time."""
    return [s for s in samplers().values() if not isinstance(s, Resampling)] + RESAMPLING


def takes(sampler, schedule):
    """Whether a sampler can sample along a schedule."""
    return not (between(sampler) and schedule.discrete)


def every_schedule():
    """The schedules of conf/, discrete ones with 1000 steps."""
    return [dataclasses.replace(s, T=1000) if s.discrete else s for s in schedules().values()]


def kinds():
    """One schedule of each class, and one of all tables of betas, which differ in their numbers alone."""
    named = {Betas if isinstance(s, Betas) else type(s): s for s in reversed(every_schedule())}
    return [*named.values()]


def pairs(some, where):
    """The samplers on those of the schedules that they take."""
    return [(sampler, schedule) for sampler, schedule in itertools.product(some, where) if takes(sampler, schedule)]
