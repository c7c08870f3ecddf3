"""Schedules: the laws, for every option of conf/schedule."""

from dataclasses import is_dataclass

import torch

from difflab.laws.schedules import DISCRETE_LAWS, LAWS
from difflab.process import Schedule
from helpers.conf import schedules
from helpers.laws import assert_law


def test_every_schedule(subtests):
    for law in LAWS:
        with subtests.test(law.__name__):
            assert_law(law(schedule) for schedule in schedules().values())


def test_every_discrete_schedule(subtests):
    for law in DISCRETE_LAWS:
        with subtests.test(law.__name__):
            assert_law(law(schedule) for schedule in schedules().values() if schedule.discrete)


def test_rates_that_a_schedule_states_are_the_derivatives_of_its_mix():
    """To rounding, by forward differentiation: the law takes differences, which are less accurate."""
    for schedule in schedules().values():
        t = schedule.t_min + (schedule.t_max - schedule.t_min) * torch.linspace(0, 1, 50, dtype=torch.float64)
        for ours, theirs in zip(schedule.rate(t), Schedule.rate(schedule, t), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_rates_are_the_same_in_inference_mode():
    """In which torch.func.jvp has returned zeros: torch 2.11."""
    for schedule in schedules().values():
        t = torch.linspace(0.2, 0.8, 5, dtype=torch.float64) * schedule.t_max
        rate = Schedule.rate(schedule, t)
        with torch.inference_mode():
            again = Schedule.rate(schedule, t)
        assert not again.sigma.is_inference()
        for ours, theirs in zip(again, rate, strict=True):
            assert torch.equal(ours, theirs), schedule


def test_equal_parameters_are_an_equal_schedule():
    values = [schedule for schedule in schedules().values() if is_dataclass(schedule)]
    assert values
    for schedule in values:
        schedule(torch.tensor(schedule.t_max))  # filling a cache changes nothing
        settings = {name: getattr(schedule, name) for name in schedule.__dataclass_fields__}
        assert schedule == type(schedule)(**settings)
