"""A cache of tensors that are computed once: features of real samples, and scores of real samples."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from filelock import FileLock
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from difflab.metric.card import digest


def kept(
    folder: str | Path, name: str, identity: Sequence[object], compute: Callable[[], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """The result of `compute`, read from a file of the folder if it is there; `identity` is all that it depends on.

    If several processes need it at once, one computes it and the others wait. A damaged file is replaced.
    """
    path = Path(folder) / f"{name}-{digest(identity)}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        try:
            return load_file(path)
        except (FileNotFoundError, SafetensorError):
            computed = compute()
            partial = path.with_suffix(".partial")
            save_file(computed, partial)
            os.replace(partial, path)
            return computed
