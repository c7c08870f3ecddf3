"""The networks of conf/backbone, and what tests feed them."""

import functools

import torch
from torch import nn

from difflab.cli.parts import NARROW
from difflab.experiment.parts.build import build
from difflab.laws.backbones import inputs, perturbed
from helpers import conf

__all__ = [
    "BACKBONES",
    "IMAGE",
    "POINT",
    "WITHOUT_LEVELS",
    "WITH_TEXT",
    "count",
    "fitting",
    "inputs",
    "narrow",
    "perturbed",
    "settings",
]

HALVES = ("half_dit", "half_unet")  # which are classifiers
WITHOUT_LEVELS = ("autoencoder", "autoencoder_f2", "autoencoder_f8", "autoencoder_sdxl", "autoencoder_mlp")
WITHOUT_LEVELS += ("conv_generator", "mlp_generator")  # which see no noise level
OTHERS = (*HALVES, *WITHOUT_LEVELS)
WITH_TEXT = ("mmdit", "mmdit_s", "mmdit_b")  # which read captions, so that they have classes
BACKBONES = [option for option in conf.options("backbone") if option not in OTHERS]
IMAGE, POINT = [2, 16, 24], [2]


@functools.cache
def defaults(option):
    """One option's settings, composed once for all tests of a process."""
    return conf.settings("backbone", option)


def settings(option, shape=IMAGE, classes=3):
    """The same on such data."""
    return {**defaults(option), "shape": shape, "classes": classes}


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


def randomised(net):
    """The network with all its weights drawn at random, also those that begin at zero or one."""
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(0.1 * torch.randn(p.shape, generator=g) + (p.ndim == 1))
    return net


class AffineAutoencoder(nn.Module):
    """Points in the plane to one latent and back."""

    shape, classes, latent_shape = (2,), 0, (1,)

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(2, 2), nn.Linear(1, 2)

    def encode(self, x, label):
        return self.encoder(x).chunk(2, dim=1)

    def decode(self, z, label):
        return self.decoder(z)
