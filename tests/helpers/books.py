"""What books are filled with: captions as ids, and rows of random numbers."""

import torch

CONTEXT = 6
CAPTIONS = torch.tensor([[1, 5, 6, 2, 0, 0], [1, 7, 2, 0, 0, 0], [1, 4, 4, 8, 9, 2]])
EMPTY = torch.tensor([1, 2, 0, 0, 0, 0])


def normal(*shape, seed=0):
    """Standard normal numbers in float32, a function of the seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
