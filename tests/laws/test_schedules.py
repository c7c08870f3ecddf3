"""Schedules: the laws, for every option of conf/schedule."""

from dataclasses import is_dataclass

import torch

from difflab.laws.schedules import DISCRETE_LAWS, LAWS
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


def test_equal_parameters_are_an_equal_schedule():
    values = [schedule for schedule in schedules().values() if is_dataclass(schedule)]
    assert values
    for schedule in values:
        schedule(torch.tensor(schedule.t_max))  # filling a cache changes nothing
        settings = {name: getattr(schedule, name) for name in schedule.__dataclass_fields__}
        assert schedule == type(schedule)(**settings)
