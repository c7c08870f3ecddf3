"""Old names of helpers.closed_forms, until no test imports them from here."""

import pytest

from helpers.closed_forms import MEAN, VAR, adapts, between, bound, column, end, gaussian, moments  # noqa: F401
from helpers.conf import samplers, schedules

SAMPLERS = [pytest.param(sampler, id=option) for option, sampler in samplers().items()]
SCHEDULES = [pytest.param(schedule, id=option) for option, schedule in schedules().items()]
