"""Images of random numbers, and splits of data as metrics see them."""

import hashlib
from types import SimpleNamespace

import torch


def split(x):
    """Samples and what they are known by."""
    return SimpleNamespace(x=x, sha256=hashlib.sha256(x.contiguous().numpy().tobytes()).hexdigest())


def random_images(n, channels=3, size=20, seed=0):
    """`n` uint8 images, a function of the seed."""
    return torch.randint(
        0, 256, (n, channels, size, size), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8
    )
