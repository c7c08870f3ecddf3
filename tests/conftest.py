"""The environment of all tests."""

import functools
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # bf16 kernels spin at barriers when tests share a machine
os.environ["WANDB_MODE"] = "offline"

import pytest

from helpers import conf
from helpers.conf import built, composed, options  # noqa: F401  # until no test imports them from here


@functools.cache
def schedules():
    return [pytest.param(schedule, id=option) for option, schedule in conf.schedules().items()]


@functools.cache
def targets():
    return [pytest.param(target, id=option) for option, target in conf.targets().items()]
