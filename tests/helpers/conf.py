"""The options of conf/: collected, composed and built, so that a new option meets the laws without a new test."""

import functools
from pathlib import Path

from omegaconf import OmegaConf

from difflab.experiment.config import compose as config
from difflab.experiment.parts.build import build
from difflab.experiment.parts.search_path import conf_dir


def options(group):
    """The names of a group's options."""
    return sorted(path.stem for path in Path(conf_dir(), group).glob("*.yaml"))


def composed(*overrides, name="train"):
    """The configuration of a command, as a plain dict."""
    return config.compose(name, overrides)


def built(group, option, *overrides):
    """The object of one option of a group, with the defaults of everything else."""
    return build(composed(f"{group}={option}", *overrides)[group])


@functools.cache
def unresolved(*words):
    """The configuration of difflab-train with these words, before its references are resolved."""
    whole = config.composed("train", words)
    OmegaConf.set_readonly(whole, False)
    OmegaConf.set_struct(whole, False)
    return whole


def own_file(group, option):
    """The file of an option; None where it is not all that Hydra puts in the group's place."""
    path = Path(conf_dir(), group, f"{option}.yaml")
    own = OmegaConf.load(path)
    return None if "defaults" in own or path.read_text().startswith("# @package") else own


def with_option(group, option, *words):
    """The same with an option of a group in place of the one that the words choose.

    It is what Hydra composes, as a test of conf/ states, and takes a twentieth of the time.
    """
    own = own_file(group, option)
    if own is None:
        return config.composed("train", [*words, f"{group}={option}"])
    return OmegaConf.merge(unresolved(*words), {group: None}, {group: own})


def settings(group, option):
    """One option of a group with the defaults of everything else, as a plain dict."""
    whole = with_option(group, option)
    return OmegaConf.to_container(whole[group], resolve=True, throw_on_missing=True)


@functools.cache
def every(group):
    """Each option of a group by its name, built once for all tests of a process: values, which no test may change."""
    return {option: build(settings(group, option)) for option in options(group)}


def schedules():
    """The noise schedules of conf/ by name."""
    return every("schedule")


def targets():
    """The network targets of conf/ by name."""
    return every("target")


def samplers():
    """The samplers of conf/ by name."""
    return every("sampler")
