"""Schedules: the laws, for every option of conf/schedule."""

from dataclasses import is_dataclass

import pytest
import torch

from difflab.laws.schedules import DISCRETE_LAWS, LAWS
from helpers.conf import schedules
from helpers.laws import assert_law


@pytest.mark.parametrize("law", LAWS)
def test_every_schedule(law):
    assert_law(law(schedule) for schedule in schedules().values())


@pytest.mark.parametrize("law", DISCRETE_LAWS)
def test_every_discrete_schedule(law):
    assert_law(law(schedule) for schedule in schedules().values() if schedule.discrete)


def test_equal_parameters_are_an_equal_schedule():
    values = [schedule for schedule in schedules().values() if is_dataclass(schedule)]
    assert values
    for schedule in values:
        schedule(torch.tensor(schedule.t_max))  # filling a cache changes nothing
        settings = {name: getattr(schedule, name) for name in schedule.__dataclass_fields__}
        assert schedule == type(schedule)(**settings)
