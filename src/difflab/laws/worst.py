"""The worst case of a law: which one it is, its error, and the error that is allowed."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Worst:
    """The worst case of a law, by name, with its error and the largest error that the law allows there."""

    case: str
    error: float
    tolerance: float

    @property
    def holds(self) -> bool:
        """Whether the error is within the tolerance. NaN is not."""
        return self.error <= self.tolerance

    @property
    def ratio(self) -> float:
        """`error / tolerance`, by which cases are compared: infinite for NaN, and for any error where none is allowed.

        0 where there is no error.
        """
        if self.error == 0:
            return 0.0
        ratio = self.error / self.tolerance if self.tolerance else math.inf
        return math.inf if math.isnan(ratio) else ratio

    def __str__(self) -> str:
        return f"{self.case}: error {self.error:.3g}, allowed {self.tolerance:.3g}"


def worst(cases: Iterable[Worst]) -> Worst:
    """The case with the largest `error / tolerance`. Raises ValueError if there is no case, which would test no law."""
    found = max(cases, key=lambda case: case.ratio, default=None)
    if found is None:
        raise ValueError("a law needs at least one case: this list of cases is empty")
    return found


def at(case: str, k: int, t: Tensor | None, n: int) -> str:
    """The name of the `k`-th of `n` elements, whose rows belong to the times `t`."""
    return case if t is None else f"{case}, t={t.flatten()[k * t.numel() // n].item():.6g}"


def close(
    case: str, found: Tensor, expected: Tensor, *, rtol: float = 0.0, atol: float = 0.0, t: Tensor | None = None
) -> Worst:
    """The element with the largest `|found - expected| / (atol + rtol |expected|)`.

    Where the times `t: (B,)` of tensors `(B, *)` are given, the case names the element's time. Infinities of one sign
    are equal. Another shape or type is an infinite error. Raises ValueError for empty tensors.
    """
    if (found.shape, found.dtype) != (expected.shape, expected.dtype):
        kinds = [f"{x.dtype} of shape {tuple(x.shape)}" for x in (found, expected)]
        return Worst(f"{case}: {kinds[0]} in place of {kinds[1]}", math.inf, atol)
    found, expected = found.detach().flatten(), expected.detach().flatten()
    error = torch.where(found == expected, 0.0, (found - expected).abs())
    allowed = atol + torch.where(expected.isfinite(), rtol * expected.abs(), 0.0)
    ratio = torch.where(error == 0, 0.0, error / allowed).nan_to_num(nan=math.inf)
    if not len(ratio):
        raise ValueError(f"{case}: the tensors are empty, so that no law is tested")
    k = int(ratio.argmax())
    return Worst(at(case, k, t, len(ratio)), error[k].item(), allowed[k].item())


def violations(case: str, broken: Tensor, t: Tensor | None = None) -> Worst:
    """The number of true entries of the boolean tensor `broken`, where none is allowed.

    Where the times `t` of the entries are given, the case names that of the first one. Raises ValueError for an empty
    tensor.
    """
    if not broken.numel():
        raise ValueError(f"{case}: the tensor is empty, so that no law is tested")
    rows = broken.flatten()
    return Worst(at(case, int(rows.int().argmax()), t, len(rows)), float(rows.sum()), 0.0)
