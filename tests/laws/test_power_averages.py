"""Averages of a share of the training: their law, and that they can be made of others."""

import math

import pytest
import torch
from torch import nn

from difflab.paradigm.ema import average_of
from difflab.paradigm.power_average import TRACKED, PowerAverage, PowerAverages, combination, gamma, growing, parts


def test_a_length_is_the_standard_deviation_of_the_shares():
    """By numerical integration of `(g + 1) u^g`, the shares of a whole training; the longest has equal ones."""
    u = (torch.arange(1_000_000, dtype=torch.float64) + 0.5) / 1_000_000
    for length in (0.02, 0.05, 0.1, 0.2, 0.28):
        shares = (gamma(length) + 1) * u ** gamma(length)
        mean = (shares * u).mean()
        assert ((shares * (u - mean) ** 2).mean()).sqrt().item() == pytest.approx(length, rel=1e-6)
    assert gamma(1 / math.sqrt(12) - 1e-12) == pytest.approx(0, abs=1e-6)


def test_published_powers():
    """Karras et al. 2024 (arXiv:2312.02696): 0.05 is gamma = 16.97 and 0.10 is 6.94."""
    assert [round(gamma(length), 2) for length in TRACKED] == [16.97, 6.94]


def test_the_recursion_gives_each_step_its_share():
    """After n steps step m has `(m^(g + 1) - (m - 1)^(g + 1)) / n^(g + 1)`, the integral of the law over it."""
    n, length = 50, 0.1
    network, power = nn.Linear(n, 1, bias=False, dtype=torch.float64), gamma(length) + 1
    average = average_of(network, growing(length))
    for m in range(n):
        network.weight.data = torch.eye(n, dtype=torch.float64)[m][None]
        average.update_parameters(network)
    edges = (torch.arange(n + 1, dtype=torch.float64) / n) ** power
    torch.testing.assert_close(average.module.weight[0], edges.diff(), rtol=1e-12, atol=1e-14)


@pytest.mark.long
def test_other_lengths_are_made_of_snapshots():
    """Weights that wander: the combination of what was kept is the average that would have been tracked."""
    steps = 4096
    path = torch.randn(steps, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).cumsum(0)

    def tracked(length, step):
        edges = (torch.arange(step + 1, dtype=torch.float64) / step) ** (gamma(length) + 1)
        return edges.diff() @ path[:step]

    for count, lengths, limit in ((16, (0.04, 0.07, 0.15, 0.2), 0.01), (64, (0.02, 0.03, 0.25), 0.01)):
        kept = [PowerAverage(length, step) for step in parts(steps, count) for length in TRACKED]
        values = torch.stack([tracked(each.length, each.step) for each in kept])
        for length in lengths:
            shares, error = combination(kept, PowerAverage(length, steps))
            wanted = tracked(length, steps)
            assert (shares @ values - wanted).norm() < limit * (wanted - path[-1]).norm(), (count, length)
            assert error < 0.05
        for length in TRACKED:  # those that are tracked are themselves
            shares, error = combination(kept, PowerAverage(length, steps))
            torch.testing.assert_close(shares @ values, tracked(length, steps), rtol=1e-6, atol=1e-6)
            assert error < 1e-6


def test_what_is_no_length_or_no_number_of_snapshots_is_refused():
    for length in (0.0, 0.2887, 0.999):
        with pytest.raises(ValueError, match=r"between 0 and 0\.2887"):
            gamma(length)
    with pytest.raises(ValueError, match="16 or more"):
        PowerAverages(0, lambda step, averages: None)
