"""Network evaluations: those declared are those counted, for every sampler under every kind of guidance."""

import itertools

import pytest
import torch

from difflab.denoiser.classifier import AnyClassifier
from difflab.guidance.autoguidance import Autoguidance
from difflab.guidance.base import Chain
from difflab.guidance.classifier import ClassifierGuidance
from difflab.guidance.classifier_free import ClassifierFree
from difflab.guidance.clip import Clip
from difflab.guidance.dynamic_threshold import DynamicThreshold
from difflab.guidance.interval import Interval
from difflab.laws.samplers import evaluations_are_the_declared_ones
from difflab.process.discrete import LinearBetas
from difflab.process.schedule import VP
from difflab.sampler.adaptive import Adaptive
from difflab.sampler.ddim import DDIM
from difflab.sampler.generate import count_nfe, generate, times_for
from difflab.sampler.grid import Explicit, Leading, Sections, Uniform
from helpers.closed_forms import adapts, between, gaussian
from helpers.conf import samplers
from helpers.laws import assert_law


class Indifferent(AnyClassifier):
    """A classifier to which both classes are equally likely."""

    shape, classes = (1, 1, 1), 2

    def __init__(self, schedule):
        super().__init__()
        self.schedule = schedule
        self.register_buffer("nothing", torch.zeros(()))

    def forward(self, x, t):
        return 0 * x.flatten(1)[:, :1].expand(-1, 2)


def labelled(schedule):
    denoiser = gaussian(schedule)
    denoiser.classes = 2
    return denoiser


def guided(schedule):
    """A denoiser under each kind of guidance, of one, of two, and of one or two evaluations."""
    guidances = [
        Clip(),
        ClassifierFree(3.0),
        Autoguidance(lambda: labelled(schedule), 3.0),
        ClassifierGuidance(lambda: Indifferent(schedule), 3.0),
        Chain((ClassifierFree(3.0), Interval(0.2, 2.0), DynamicThreshold())),
    ]
    return [guidance(labelled(schedule)) for guidance in guidances]


def test_counted_evaluations_are_those_declared_and_the_most_that_fit():
    over_a_grid = [sampler for sampler in samplers().values() if not adapts(sampler)]
    denoisers = {True: guided(VP()), False: guided(LinearBetas())}
    assert_law(
        evaluations_are_the_declared_ones(sampler, denoiser, nfe)
        for sampler in over_a_grid
        for denoiser, nfe in itertools.product(denoisers[between(sampler)], (5, 16))
    )


def test_a_grid_of_its_own_steps_names_the_evaluations_that_they_take(subtests):
    for grid, steps in [(Explicit((900, 500, 100, 1)), 4), (Sections((2, 3)), 5)]:
        with subtests.test(str(grid)):
            denoiser = Chain((ClassifierFree(3.0), Interval(0.2, 2.0)))(labelled(LinearBetas()))
            taken = count_nfe(denoiser, DDIM(), grid(LinearBetas(), steps))
            assert len(times_for(denoiser, DDIM(), grid, taken)) == steps + 1
            with pytest.raises(ValueError, match=f"nfe={taken - 1} is too small for {steps} steps"):
                times_for(denoiser, DDIM(), grid, taken - 1)
            with pytest.raises(ValueError, match=f"give nfe={taken}"):
                times_for(denoiser, DDIM(), grid, 30)


def test_what_an_adaptive_sampler_takes_is_counted_and_needs_no_grid(caplog):
    denoiser, labels = gaussian(VP()), torch.zeros(4, dtype=torch.long)
    assert torch.equal(times_for(denoiser, Adaptive(), Leading(), 50), Uniform()(VP(), 1))
    counts = [
        generate(denoiser, Adaptive(rtol, rtol), Leading(), nfe=5, labels=labels, batch_size=2).nfe
        for rtol in (1e-2, 1e-3, 1e-5)
    ]
    assert 5 < counts[0] < counts[1] < counts[2] < 200
    assert sum("nfe=5 is not used" in message for message in caplog.messages) == 3, "once for each sampler"


def test_too_few_evaluations_for_a_step_are_refused():
    with pytest.raises(ValueError, match="nfe=0"):
        times_for(gaussian(LinearBetas()), DDIM(), Uniform(), 0)
