"""A cache of tensors in files, which processes share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from difflab.experiment.files import atomic
from difflab.experiment.lock import locked
from difflab.metric.card import digest


@dataclass(frozen=True)
class TensorCache:
    """Tensors in a folder, a file for each identity."""

    folder: Path

    def __call__(
        self, name: str, identity: Sequence[object], compute: Callable[[], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """The result of `compute`, read from its file if it is there; `identity` is all that it depends on.

        If several processes need it at once, one computes it and the others wait. A damaged file is replaced.
        """
        path = self.folder / f"{name}-{digest(identity)}.safetensors"
        with locked(path, f"{path} is being computed"):
            try:
                return load_file(path)
            except (FileNotFoundError, SafetensorError):
                computed = compute()
                with atomic(path) as unfinished:
                    save_file(computed, unfinished)
                return computed
