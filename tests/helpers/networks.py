"""The networks of conf/backbone, and what tests feed them."""

import torch

from difflab.cli.check.parts import NARROW
from difflab.experiment.build import build
from difflab.laws.backbones import inputs, perturbed
from helpers.conf import composed, options

__all__ = ["BACKBONES", "IMAGE", "POINT", "count", "fitting", "inputs", "narrow", "perturbed", "settings"]

BACKBONES = [option for option in options("backbone") if not option.startswith("half_")]  # the halves are classifiers
IMAGE, POINT = [2, 16, 24], [2]


def settings(option, shape=IMAGE, classes=3):
    """One option's settings on such data."""
    return {**composed(f"backbone={option}")["backbone"], "shape": shape, "classes": classes}


def narrow(option, shape, classes=3, **changes):
    """One option as a network small enough to test."""
    config = settings(option, shape, classes)
    torch.manual_seed(0)
    return build(config | {key: value for key, value in NARROW.items() if key in config} | changes)


def fitting(option, **changes):
    """The same on data of the kind that it is for."""
    try:
        return narrow(option, IMAGE, **changes)
    except ValueError:
        return narrow(option, POINT, **changes)


def count(net):
    """How many trained parameters."""
    return sum(parameter.numel() for parameter in net.parameters())
