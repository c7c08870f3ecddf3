"""Noise as a pure function of its key: the same at any batch size and on any number of processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

VERSION = 1  # of this law; it enters the identity of runs and the protocol card
BLOCK = 16  # draws whose states are computed at once
Words = NDArray[np.uint32]


def keyed(*key: int) -> Generator:
    """A CPU generator that is a pure function of its key."""
    return Generator().manual_seed(state(*key))


def seed_dropout(seed: int, device: torch.device) -> None:
    """Seed what dropout draws from: the default generators of the CPU and of `device`.

    `torch.manual_seed` does so for every kind of accelerator; for those that are not in use it keeps the stack of the
    call, which takes a millisecond.
    """
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)


def state(*key: int) -> int:
    """The state of the generator of a key."""
    # the length too, since numpy takes (1, 2) and (1, 2, 0) for one key
    return int(np.random.SeedSequence((len(key), *key)).generate_state(1, np.uint64)[0])


def states(seed: int, indices: Sequence[int], k: int) -> list[int]:
    """`state(seed, i, k)` of each index `i < 2^32`, at once."""
    return states_of_block(seed, tuple(indices), k // BLOCK)[k % BLOCK]


@lru_cache(maxsize=16)
def states_of_block(seed: int, indices: tuple[int, ...], block: int) -> list[list[int]]:
    """The states of BLOCK draws in a row: of each of them, that of each index.

    A pool of four words is mixed from the 32-bit words of the key; the state is a hash of two of them. O'Neill 2015
    (https://www.pcg-random.org/posts/developing-a-seed_seq-alternative.html), as in numpy.random.SeedSequence.
    """
    first, *higher = words_of(block * BLOCK)  # the higher words are those of all draws of the block
    draws = first + np.arange(BLOCK, dtype=np.uint32)[:, None]
    words = [*words_of(3), *words_of(seed), np.asarray(indices, np.uint32), draws, *higher]
    hashed = hashing(0x43B0D7E5, 0x931E8875)
    pool = [hashed(word) for word in words[:4]]
    for source in range(4):
        for target in (j for j in range(4) if j != source):
            pool[target] = mixed(pool[target], hashed(pool[source]))
    for word in words[4:]:
        pool = [mixed(each, hashed(word)) for each in pool]
    hashed = hashing(0x8B51F9DD, 0x58F38DED)
    low, high = (hashed(each).astype(np.uint64) for each in pool[:2])
    found: list[list[int]] = (low | high << np.uint64(32)).tolist()
    return found


def words_of(number: int) -> Words:
    """The 32-bit words of a number, the lowest first: one or more, of shape (1,) each."""
    size = max(1, -(-number.bit_length() // 32))
    return np.frombuffer(number.to_bytes(4 * size, "little"), "<u4")[:, None]


def hashing(constant: int, factor: int) -> Callable[[Words], Words]:
    """A hash of words that is another one at each call."""

    def hashed(words: Words) -> Words:
        nonlocal constant
        words = words ^ np.uint32(constant)
        constant = constant * factor & 0xFFFFFFFF
        words = words * np.uint32(constant)
        return words ^ words >> np.uint32(16)

    return hashed


def mixed(x: Words, y: Words) -> Words:
    """A hash of the words x and y."""
    both: Words = x * np.uint32(0xCA01F9DD) - y * np.uint32(0x4973F715)
    return both ^ both >> np.uint32(16)


@dataclass(frozen=True)
class SampleNoise:
    """Standard normal noise as a pure function of (seed, sample index, draw): no batch size or process count enters."""

    seed: int
    indices: Sequence[int]

    def __call__(self, x: Tensor, k: int) -> Tensor:
        """The `k`-th draw for samples like `x`, whose rows are the samples of `indices`."""
        drawn, g = torch.empty(len(self.indices), *x.shape[1:]), Generator()
        for row, seed in zip(drawn.unbind(), states(self.seed, self.indices, k), strict=True):
            row.normal_(generator=g.manual_seed(seed))
        return drawn.to(x)
