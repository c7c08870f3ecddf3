"""Sums over held-out samples that come in groups, of which each process sees a part."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


class GroupSums(Metric):
    """The sum of values and their number, by group, over all processes: `compute` gives (groups, 2) in float64.

    Groups are whole numbers below 2^24, in whose order the sums stand. The state is flat, as a process that saw no
    sample takes part with an empty vector.
    """

    full_state_update = False
    rows: list[Tensor]  # (group, sum, number) of each update

    def __init__(self) -> None:
        super().__init__()
        self.add_state("rows", [], dist_reduce_fx="cat")

    def update(self, values: Tensor, group: int) -> None:
        """Take in values (N,) of one group."""
        value = values.float().sum()
        self.rows.append(torch.stack([value.new_tensor(group), value, value.new_tensor(len(values))]))

    def compute(self) -> Tensor:
        """Sum and number of each group."""
        rows = dim_zero_cat(self.rows).view(-1, 3).cpu().double()
        groups, which = torch.unique(rows[:, 0], return_inverse=True)
        return rows.new_zeros(len(groups), 2).index_add_(0, which, rows[:, 1:])
