"""Classifiers of noisy samples: small networks, one of two sides, and Bayes' rule where components are classes."""

import torch

from difflab.backbone.half_dit import HalfDiT
from difflab.backbone.half_unet import HalfUNet
from difflab.denoiser.classifier import AnyClassifier
from difflab.denoiser.exact import Mixture
from difflab.process import VP

SHAPE = (2, 16, 24)
HALVES = {
    "half_unet": lambda: HalfUNet(SHAPE, 3, width=32, multipliers=(1, 2), blocks=1, head_channels=16),
    "half_dit": lambda: HalfDiT(SHAPE, 3, width=32, depth=2, heads=2),
}


def half(option):
    """A classifier's network, the same at each call."""
    torch.manual_seed(0)
    return HALVES[option]()


class Sides(AnyClassifier):
    """Tells left from right: `p(y | x_t)` is a logistic function of the first coordinate."""

    schedule, shape, classes = VP(), (2,), 2

    def forward(self, x, t):
        return (x[:, :1] * torch.tensor([-1.0, 1.0])).log_softmax(1)


class BayesOfMixture(AnyClassifier):
    """`p(k | x_t) ~ w_k p(x_t | k)`."""

    def __init__(self, schedule, means, var, weights):
        super().__init__()
        self.schedule, self.mixture = schedule, Mixture(schedule, means, var, weights)
        self.shape, self.classes = tuple(means.shape[1:]), len(means)

    def forward(self, x, t):
        return self.mixture.log_joint(x, self.schedule(t), torch.zeros(len(x))).log_softmax(1)
