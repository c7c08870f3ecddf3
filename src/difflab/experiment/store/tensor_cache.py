"""A cache of tensors in files, which processes share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from difflab.experiment.machine.lock import locked
from difflab.experiment.store.files import atomic
from difflab.metric.card import digest


@dataclass(frozen=True)
class TensorCache:
    """Tensors in a folder, a file for each identity. `extensions`: the sources of those whose code may compute them."""

    folder: Path
    extensions: Mapping[str, str] = field(default_factory=dict)

    def __call__(
        self, name: str, identity: Sequence[object], compute: Callable[[], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """The result of `compute`, read from its file if it is there; `identity` is all that it depends on.

        If several processes need it at once, one computes it and the others wait. A damaged file is replaced, and that
        is printed.
        """
        known_by = [identity, dict(self.extensions)] if self.extensions else identity
        path = self.folder / f"{name}-{digest(known_by)}.safetensors"
        with locked(path, f"{path} is being computed"):
            if (known := read(path)) is not None:
                return known
            computed = {key: value.contiguous() for key, value in compute().items()}  # images may be channels-last
            with atomic(path) as unfinished:
                save_file(computed, unfinished, {"sha256": content_sha256(computed)})
            return computed


def read(path: Path) -> dict[str, Tensor] | None:
    """The tensors of a file; None if it is missing, or damaged, which is printed."""
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
            expected = (file.metadata() or {}).get("sha256")  # which earlier versions did not write
    except FileNotFoundError:
        return None
    except SafetensorError:
        tensors, expected = {}, "that of no tensors"
    if expected not in (None, content_sha256(tensors)):
        print(f"{path} is damaged, and is computed again", flush=True)
        return None
    return tensors


def content_sha256(tensors: Mapping[str, Tensor]) -> str:
    """The sha256 of tensors by their names, types and shapes."""
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.contiguous().cpu().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()
