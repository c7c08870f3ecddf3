"""The options of conf/: collected, composed and built, so that a new option meets the laws without a new test."""

import functools
from pathlib import Path

import difflab.cli.settings  # noqa: F401  # registers the types of the configurations
from difflab.experiment.build import build
from difflab.experiment.config import compose, conf_dir


def options(group):
    """The names of a group's options."""
    return sorted(path.stem for path in Path(conf_dir(), group).glob("*.yaml"))


def composed(*overrides, name="train"):
    """The configuration of a command, as a plain dict."""
    return compose(name, overrides)


def built(group, option, *overrides):
    """The object of one option of a group, with the defaults of everything else."""
    return build(composed(f"{group}={option}", *overrides)[group])


@functools.cache
def every(group):
    """Each option of a group by its name, built once for all tests of a process: values, which no test may change."""
    return {option: built(group, option) for option in options(group)}


def schedules():
    """The noise schedules of conf/ by name."""
    return every("schedule")


def targets():
    """The network targets of conf/ by name."""
    return every("target")


def samplers():
    """The samplers of conf/ by name."""
    return every("sampler")
