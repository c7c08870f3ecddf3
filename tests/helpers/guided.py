"""What the tests of guidance share: samples with labels, a network that is not linear, scores and times."""

import torch

from difflab.process.gaussian import scale

LABEL = torch.tensor([0, 1, 1, 2, 0])
X = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class Network(torch.nn.Module):
    """A network that is not linear."""

    shape, learned_variance = (3, 4, 4), False

    def __init__(self, classes=2):
        super().__init__()
        self.classes = classes
        self.register_buffer("gain", torch.tensor(2.0))

    def forward(self, x, timestep, label):
        return 0.3 + torch.tanh(self.gain * x.flip(-1) + scale(1 + timestep / 1000 + label, torch.ones_like(x)))


def score(log_density, x):
    """The gradient of a log-density."""
    x = x.clone().requires_grad_()
    return torch.autograd.grad(log_density(x).sum(), x)[0]


def time(log_snr, schedule):
    """The time of a log-SNR, in float64."""
    return schedule.time_at(torch.tensor(log_snr, dtype=torch.float64))
