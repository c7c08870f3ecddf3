"""Fashion16: the embedded set, so that everything runs without a download."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import IO, ClassVar
from zipfile import BadZipFile

import numpy as np
import torch

from difflab.data.fashion_mnist import NAMES
from difflab.data.images import Images, Split

SHA256 = "52d6f2bc0bba2cdb644c9e61c061bed34b6a7599bcecaf70ebd00a7bf0ad1c65"


@dataclass(frozen=True)
class Fashion16:
    """12,000 + 2,000 grey images 16x16 of ten balanced classes: Fashion-MNIST padded to 32x32 and averaged 2x2.

    Xiao, Rasul & Vollgraf 2017 (arXiv:1708.07747). Raises ValueError if the installed file is damaged.
    """

    names: ClassVar[tuple[str, ...]] = NAMES  # of the classes

    def load(self) -> Images:
        """Read the file inside the package and check its pixels."""
        with files("difflab.data").joinpath("fashion16.npz").open("rb") as file:
            return read(file)


def read(file: IO[bytes]) -> Images:
    """Read the arrays x, y, test_x, test_y; ValueError if the training pixels are not those of Fashion16."""
    try:
        with np.load(file) as arrays:
            x, y, test_x, test_y = (torch.from_numpy(arrays[key]) for key in ("x", "y", "test_x", "test_y"))
    except BadZipFile as error:
        raise ValueError(f"fashion16.npz is damaged ({error}): install difflab again") from error
    train = Split(x[:, None], y.long())
    if train.sha256 != SHA256:
        raise ValueError(
            f"fashion16.npz is damaged: its training pixels have sha256 {train.sha256}, not {SHA256}; "
            "install difflab again"
        )
    return Images(train, Split(test_x[:, None], test_y.long()), NAMES)
