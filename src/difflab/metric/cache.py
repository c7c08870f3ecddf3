"""What is computed once and kept: features of real samples, and what real samples score."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from filelock import FileLock
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor


def kept(
    folder: str | Path, name: str, identity: Sequence[object], compute: Callable[[], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """What `compute` gives, from a file of the folder if it is there; `identity` is all that it depends on.

    Several processes may ask at once: one computes, the others wait. A damaged file is replaced.
    """
    digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
    path = Path(folder) / f"{name}-{digest[:16]}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        try:
            return load_file(path)
        except (FileNotFoundError, SafetensorError):
            found = compute()
            partial = path.with_suffix(".partial")
            save_file(found, partial)
            os.replace(partial, path)
            return found
