"""The handwritten digits that come with scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from difflab.data.images import Images, Split


@dataclass(frozen=True)
class Digits:
    """1,797 grey images 8x8 of ten classes, their levels 0..16 stretched to 0..255; every fifth image is held out.

    Alpaydin & Kaynak 1998, UCI Optical Recognition of Handwritten Digits (its test part).
    Raises ModuleNotFoundError without scikit-learn.
    """

    names: ClassVar[tuple[str, ...]] = tuple("0123456789")  # of the classes

    def load(self) -> Images:
        """Read them from scikit-learn."""
        try:
            from sklearn.datasets import load_digits
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("data=digits needs scikit-learn: pip install 'difflab[digits]'") from error
        digits = load_digits()
        x = torch.from_numpy(np.round(digits.images * (255 / 16)).astype(np.uint8))[:, None]
        y = torch.from_numpy(digits.target.astype(np.int64))
        held_out = torch.arange(len(x)) % 5 == 4
        return Images(Split(x[~held_out], y[~held_out]), Split(x[held_out], y[held_out]), self.names)
