"""Everything in conf/ is collected here, so that a new option meets the laws without a new test."""

import functools
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # bf16 kernels spin at barriers when tests share a machine
os.environ["WANDB_MODE"] = "offline"

import pytest

from difflab.experiment.build import build
from difflab.experiment.config import compose, conf_dir


def options(group):
    return sorted(path.stem for path in Path(conf_dir(), group).glob("*.yaml"))


def composed(*overrides, name="train"):
    return compose(name, overrides)


def built(group, option, *overrides):
    """The object of one option of a group, with the defaults of everything else."""
    return build(composed(f"{group}={option}", *overrides)[group])


@functools.cache
def schedules():
    return [pytest.param(built("schedule", option), id=option) for option in options("schedule")]


@functools.cache
def targets():
    return [pytest.param(built("target", option), id=option) for option in options("target")]
