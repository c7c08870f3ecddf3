"""The exact flow map of N(MEAN, VAR) as residuals are given it, and the steps that they are tried on."""

import torch

from difflab.laws.gaussian import gaussian, marginal
from difflab.process.chord import chord, output
from difflab.process.gaussian import scale
from helpers.closed_forms import normal

SHARES = torch.tensor([[0.999, 0.0], [0.9, 0.3], [0.5, 0.45], [0.6, 0.01], [1.0, 0.2]], dtype=torch.float64)
U = torch.tensor([0.3, 0.5, 0.9, 0.1, 0.7], dtype=torch.float64)
LABEL = torch.zeros(5, dtype=torch.long)


class Exact:
    """The exact flow map of N(MEAN, VAR), and its drive."""

    def __init__(self, schedule, target):
        self.schedule, self.target = schedule, target

    def output(self, x, t):
        """In the closed form of the denoiser."""
        estimate = gaussian(self.schedule, x.shape[1:])(x, t, LABEL)
        return self.target.mix(self.schedule, t)(estimate.x0, estimate.eps)

    def __call__(self, x, t, s):
        (mean_t, std_t), (mean_s, std_s) = marginal(self.schedule(t)), marginal(self.schedule(s))
        end = scale(std_s / std_t, x - scale(mean_t, torch.ones_like(x))) + scale(mean_s, torch.ones_like(x))
        return output(self.schedule, self.target, x, t, end, s)

    fixed = __call__

    def back(self, x, t, r):
        return chord(self.schedule, self.target, t, r)(x, self(x, t, r))


def samples(schedule, t, n=3):
    mean, std = marginal(schedule(t))
    return scale(std, normal(len(t), n)) + scale(mean, torch.ones(len(t), n, dtype=torch.float64))
