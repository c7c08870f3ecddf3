"""The effective weight of noise levels against what is known of it."""

from __future__ import annotations

import math

import pytest

from difflab.experiment.store.noise_levels import effective_weight, time_share
from difflab.objective.times import LogitNormal, Stratified
from difflab.objective.weighting import Likelihood, Simple
from difflab.process.discrete import GeometricSigmas
from difflab.process.schedule import EDM, VP, Linear, Trigonometric
from difflab.process.target import Eps, Velocity


def test_the_likelihood_weighs_all_noise_levels_alike(subtests):
    for schedule in [VP(), EDM(), Linear(), Trigonometric()]:
        with subtests.test(str(schedule)):
            found = effective_weight(schedule, Eps(), Stratified(), Likelihood())
            assert found.value == pytest.approx([1.0] * len(found.value), rel=0.02)


def test_straight_paths_have_the_weight_that_is_known():
    """With uniform times `exp(-log_snr / 2)`: Kingma & Gao 2023 (arXiv:2303.00848), table 1.

    Otherwise `p(log_snr) / alpha^2`, and of logit-normal times p is N(0, 4).
    """
    uniform = effective_weight(Linear(), Velocity(), Stratified(), Simple())
    assert uniform.value == pytest.approx([math.exp(-each / 2) for each in uniform.log_snr], rel=0.06)
    normal = effective_weight(Linear(), Velocity(), LogitNormal(), Simple())
    law = [math.exp(-(each**2) / 8) * (1 + math.exp(-each / 2)) ** 2 / 4 for each in normal.log_snr]
    assert normal.value == pytest.approx(law, rel=0.08)  # from as many random draws as fall into a group


def test_a_path_is_drawn_over_its_own_log_snr():
    found = time_share(Trigonometric())
    law = [2 / math.pi * math.atan(math.exp(-each / 2)) for each in found.log_snr]
    assert found.value == pytest.approx(law, abs=1e-4)


def test_a_schedule_of_few_levels_has_no_density():
    found = {T: effective_weight(GeometricSigmas(T=T), Eps(), Stratified(), Simple()) for T in range(2, 9)}
    assert [T for T, curve in found.items() if curve is None] == [2, 3, 4]
    assert all(len(curve.value) == T - 3 for T, curve in found.items() if curve)
