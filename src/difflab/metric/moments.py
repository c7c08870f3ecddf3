"""Mean and covariance of vectors, of all at once or of one batch after another."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from difflab.metric.gather import ON_CPU

BUFFER = 512  # rows that are kept before they are decomposed: many small decompositions cost more than one


class Moments(NamedTuple):
    """The mean of vectors (n, D), and some R of at most D rows with R^T R their covariance."""

    mean: Tensor
    root: Tensor


def moments(x: Tensor) -> Moments:
    """Of float64 vectors (n, D), n >= 2."""
    mean = x.mean(0)
    x = (x - mean) / (len(x) - 1) ** 0.5
    return Moments(mean, torch.linalg.qr(x, mode="r").R if len(x) > x.shape[1] else x)


def triangle(rows: Tensor) -> Tensor:
    """R of the QR decomposition of rows (m, D + 1), which are (1, x) of vectors x, or triangles of others.

    `R^T R = rows^T rows`, so that R stands for all the vectors, however many they are: it has D + 1 rows at most.
    """
    r: Tensor = torch.linalg.qr(rows.cpu(), mode="r").R
    return r


def moments_of(rows: Tensor) -> Moments:
    """Of n vectors, by their triangle or by rows (1, x): as exact as from the vectors, for n <= D too.

    The first column of the triangle R is (√n, 0, 0, ..), so that `R[0, 1:] / R[0, 0]` is the mean, and the rest of R a
    root of the scatter around it. Raises ValueError for n < 2.
    """
    r = triangle(rows)
    n = round(r[0, 0].square().item())
    if n < 2:
        raise ValueError(f"a covariance takes two vectors or more, not {n}")
    return Moments(r[0, 1:] / r[0, 0], r[1:, 1:] / (n - 1) ** 0.5)


def extended(rows: list[Tensor], x: Tensor) -> list[Tensor]:
    """Rows of vectors seen before, with those of x (n, D): a list whose size does not grow with n."""
    if rows and not len(x):
        return rows
    rows = [*(row.cpu() for row in rows), F.pad(x.cpu().double(), (1, 0), value=1.0)]
    return [triangle(torch.cat(rows))] if sum(map(len, rows)) > max(2 * rows[0].shape[1], BUFFER) else rows


class MeanAndError(Metric):
    """The mean of numbers and its standard error `s / √n`, in float64: `compute` gives the two.

    Raises ValueError for n < 2.
    """

    full_state_update = False
    rows: list[Tensor]

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401  # torchmetrics'
        super().__init__(**ON_CPU | settings)
        self.add_state("rows", [], dist_reduce_fx="cat")

    def update(self, values: Tensor) -> None:
        """Take in numbers of any shape."""
        self.rows = extended(self.rows, values.reshape(-1, 1))

    def compute(self) -> Tensor:
        """Mean and standard error."""
        rows = dim_zero_cat(self.rows)
        mean, root = moments_of(rows)
        return torch.stack([mean[0], root.norm() / rows[:, 0].norm()])
