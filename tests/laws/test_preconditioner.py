"""The filter of preconditioned Langevin dynamics on samples with any number of axes."""

import math

import torch

from difflab.sampler.preconditioner import Preconditioner


def test_on_signals_and_volumes_the_filter_is_symmetric_and_raises_the_low_frequencies_alone():
    m = Preconditioner(radius=0.6, gain=1.3)
    for sides in ((16,), (15,), (4, 4), (3, 4, 5)):
        unit = torch.eye(math.prod(sides), dtype=torch.float64).view(-1, 1, *sides)
        matrix = m(unit).flatten(1)
        torch.testing.assert_close(matrix, matrix.T, msg=str(sides))
        frequencies = torch.cartesian_prod(*(torch.fft.fftfreq(side, dtype=torch.float64) for side in sides))
        low = (frequencies.view(-1, len(sides)).norm(dim=1) <= 0.3).sum()
        gains = torch.linalg.eigvalsh(matrix).round(decimals=6)
        assert ((gains == 1.3).sum(), (gains == 1.0).sum()) == (low, len(matrix) - low), sides
