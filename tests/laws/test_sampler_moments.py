"""Samplers: with many steps they end in the moments of Gaussian data."""

import math

import pytest

from difflab.laws import close
from difflab.laws import samplers as laws
from difflab.sampler.ancestral import Ancestral
from difflab.sampler.consistency import Consistency
from difflab.sampler.ddim import DDIM
from difflab.sampler.grid import LogSNR
from difflab.sampler.langevin import Langevin
from helpers.closed_forms import MEAN, VAR, f64, moments
from helpers.conf import samplers
from helpers.laws import assert_law
from helpers.samplers import convergent, every_schedule, kinds, pairs

EVERY = pytest.param(1, marks=pytest.mark.long)


@pytest.mark.parametrize("which", [7, EVERY])
def test_many_steps_end_in_the_datas_moments(which):
    """Every sampler on every kind of schedule, and with and without noise on every schedule; or each seventh of these.

    But for annealed Langevin dynamics, below, and Consistency, which is for flow maps.
    """
    some = [sampler for sampler in convergent() if not isinstance(sampler, Langevin | Consistency)]
    cells = dict.fromkeys([*pairs(some, kinds()), *pairs([DDIM(), Ancestral()], every_schedule())])
    assert_law(laws.moments_are_the_datas(*pair) for pair in [*cells][::which])


@pytest.mark.long
def test_annealed_langevin_dynamics_ends_in_the_datas_moments_but_for_its_known_excess():
    """On a fine ladder the variance ends above the data's by the share `sqrt(log(fall) / corrections) / 2`."""
    some, cases = [sampler for sampler in samplers().values() if isinstance(sampler, Langevin)], []
    for sampler, schedule in pairs(some, kinds()):
        times, case = LogSNR()(schedule, 200 if schedule.discrete else 300), f"{sampler} on {schedule}"
        excess = math.sqrt(schedule.log_snr(times[:-1]).diff().median().item() / sampler.corrections) / 2
        mean, var = moments(sampler, schedule, times)
        cases.append(close(f"{case}: mean", f64(mean), f64(MEAN), atol=5e-3))
        cases.append(close(f"{case}: variance", f64(var), f64(VAR * (1 + excess)), atol=2e-2))
    assert_law(cases)
