"""Losses by noise level."""

import torch

from difflab.experiment.training.callback.levels import LEVELS, LossByLevel, by_level


def test_each_finite_loss_counts_once_at_its_nearest_level():
    log_snr = torch.tensor([-30.0, -0.9, 0.9, 1.2, 9.0, torch.inf])
    loss = torch.tensor([1.0, 2.0, 4.0, 8.0, torch.nan, 16.0])
    total, n = by_level(log_snr, loss)
    found = {level: (a, b) for level, a, b in zip(LEVELS, total.tolist(), n.tolist(), strict=True) if b}
    assert found == {-10: (1.0, 1.0), 0: (6.0, 2.0), 2: (8.0, 1.0), 10: (16.0, 1.0)}


def test_sums_go_on_where_they_were_left():
    one, other = LossByLevel(), LossByLevel()
    one.sums += by_level(torch.tensor([0.0]), torch.tensor([0.1]))
    other.load_state_dict(one.state_dict())
    assert torch.equal(one.sums, other.sums)
