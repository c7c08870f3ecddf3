"""Pairs of noise and the sample that a model made of it: what a rectified flow is trained on again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from difflab.data.images import Split

KEYS = {"x", "eps", "y"}


def save_pairs(path: str | Path, x: Tensor, eps: Tensor, y: Tensor) -> None:
    """Write samples x as generated and the noise eps they began with, float32 (N, *shape), and labels y int64 (N,)."""
    save_file({"x": x.contiguous(), "eps": eps.contiguous(), "y": y.contiguous()}, path)


def held_out(n: int) -> int:
    """How many of `n` pairs are held out: the last tenth."""
    return n // 10


def load_pairs(path: str | Path, shape: Sequence[int], classes: int) -> tuple[Split, Split]:
    """The pairs of a file to train on, and the last tenth, which is held out.

    Labels count from 0; `classes` itself is the null label. Liu et al. 2023 (arXiv:2209.03003), Algorithm 1.
    Raises FileNotFoundError for a missing file, and ValueError for a damaged one or one that holds something else.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}: data.pairs must name a safetensors file of {', '.join(sorted(KEYS))}")
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is no safetensors file, or damaged: {error}") from error
    if tensors.keys() != KEYS:
        raise ValueError(f"{path} holds {', '.join(sorted(tensors))}; pairs are {', '.join(sorted(KEYS))}")
    x, eps, y = tensors["x"], tensors["eps"], tensors["y"]
    if not x.ndim:
        raise ValueError(f"{path} holds no pairs, but single numbers")
    cut = len(x) - held_out(len(x))
    try:
        training, last = (Split(x[part], y[part], eps[part]) for part in (slice(cut), slice(cut, None)))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if training.shape != tuple(shape):
        raise ValueError(f"{path} holds pairs of shape {list(training.shape)}, the data have {list(shape)}")
    if not len(last):
        raise ValueError(f"{path} holds {len(x)} pairs: at least 10 are needed, for the last tenth is held out")
    if not (x.isfinite().all() and eps.isfinite().all()):
        raise ValueError(f"{path} holds values that are not finite")
    if not 0 <= y.min() <= y.max() <= classes:
        raise ValueError(f"{path} holds labels {y.min()}..{y.max()}, the data have 0..{classes}")
    return training, last
