"""The peak signal-to-noise ratio against the installed torchmetrics."""

import torch
import torchmetrics

from difflab.metric.psnr import psnr
from helpers.closed_forms import normal


def test_the_signal_to_noise_ratio_is_that_of_torchmetrics():
    x, truth = normal(4, 3, 8, 8).clamp(-1, 1), normal(4, 3, 8, 8, seed=1).clamp(-1, 1)
    theirs = torchmetrics.functional.image.peak_signal_noise_ratio(
        x, truth, data_range=2.0, reduction="none", dim=(1, 2, 3)
    )
    torch.testing.assert_close(psnr(x, truth), theirs, check_dtype=False)
    assert psnr(x, x).isinf().all()
