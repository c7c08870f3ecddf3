"""The peak signal-to-noise ratio of each image."""

import numpy as np
import torch

from difflab.metric.psnr import psnr
from helpers.closed_forms import normal


def test_the_signal_to_noise_ratio_is_its_formula_and_infinite_for_equal_images():
    x, truth = normal(4, 3, 8, 8).clamp(-1, 1), normal(4, 3, 8, 8, seed=1).clamp(-1, 1)
    error = ((x - truth).numpy().astype(float) ** 2).mean((1, 2, 3))
    np.testing.assert_allclose(psnr(x, truth), 10 * np.log10(4 / error), rtol=1e-7)
    torch.testing.assert_close(psnr(x + 0.1, x), torch.full((4,), 20 * np.log10(20)), check_dtype=False)
    assert psnr(x, x).isinf().all()
