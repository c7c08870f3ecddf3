"""The noise of samples: a pure function of (seed, sample index, draw)."""

import numpy as np
import pytest
import torch

from difflab.process import SampleNoise
from difflab.process.noise import states


def test_each_sample_has_the_state_of_numpys_seed_sequence_of_its_key():
    indices = [0, 1, 2, 999, 2**31, 2**32 - 1]
    for seed in (0, 1, 2**32 - 1, 2**32, 2**63 + 5, 2**70 + 3):  # of one word, of two, and of three
        for draw in (0, 1, 1000, 2**33 + 1):
            keys = [np.random.SeedSequence((3, seed, k, draw)) for k in indices]
            assert states(seed, indices, draw) == [int(key.generate_state(1, np.uint64)[0]) for key in keys]


def test_noise_depends_on_no_batch_and_no_order():
    x = torch.empty(6, 2, 3)
    noise = SampleNoise(3, range(6))(x, 5)
    for some in ([4], [5, 0, 3]):
        assert torch.equal(SampleNoise(3, some)(x[: len(some)], 5), noise[some])
    others = SampleNoise(4, range(6))(x, 5), SampleNoise(3, range(6))(x, 6)
    assert not any((noise == other).any() for other in others)


def test_a_key_is_of_natural_numbers():
    for seed, index in ((-1, 0), (0, -1), (0, 2**32)):
        with pytest.raises(OverflowError):
            states(seed, [index], 0)
