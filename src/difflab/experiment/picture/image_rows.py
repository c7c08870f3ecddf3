"""The first samples of an evaluation one by one, each with the training sample that it is nearest to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL.Image import Image
from safetensors import safe_open
from safetensors.torch import save as tensor_bytes
from torch import Tensor

from difflab.experiment.picture.tile import tile
from difflab.experiment.store.files import atomic

ROWS = 32  # samples that are kept


@dataclass(frozen=True)
class ImageRow:
    """Sample k, as a picture, with its class, and the nearest training sample.

    `closeness` is the distance to that over the mean distance to the 10 nearest: 0 is a copy.
    """

    k: int
    image: Image
    label: str
    nearest: Image
    nearest_index: int
    closeness: float


def save_rows(
    path: Path,
    samples: Tensor,
    nearest: Tensor,
    labels: Tensor,
    neighbour: Tensor,
    closeness: Tensor,
    names: Sequence[str],
) -> None:
    """Write samples and their neighbours, uint8 images `(N, C, H, W)`, with the names of the classes that they have."""
    if names:
        used, labels = torch.unique(labels, return_inverse=True)
        names = [names[k] if k < len(names) else "" for k in used.tolist()]
    tensors = {"samples": samples, "nearest": nearest, "labels": labels, "neighbour": neighbour, "closeness": closeness}
    data = tensor_bytes({name: each.contiguous() for name, each in tensors.items()}, {"names": json.dumps([*names])})
    with atomic(path) as unfinished:
        unfinished.write_bytes(data)


def read_rows(path: Path) -> Iterator[ImageRow]:
    """The rows of a file."""
    with safe_open(path, "pt") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no dict
        names = json.loads(file.metadata()["names"])
    for k, label in enumerate(found["labels"].tolist()):
        images = tile(found["samples"][k]), tile(found["nearest"][k])
        about = int(found["neighbour"][k]), float(found["closeness"][k])
        yield ImageRow(k, images[0], names[label] if label < len(names) else "", images[1], *about)
