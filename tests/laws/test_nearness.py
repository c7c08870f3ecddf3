"""PSNR and SSIM of each image, by their formulas."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from difflab.backbone import Autoencoder
from difflab.objective.nearness import SIDE, nearness, psnr, ssim
from difflab.paradigm import KLAutoencoder
from helpers.closed_forms import normal


def constant(*greys, side=16):
    """Images of one grey each, in [-1, 1]."""
    return torch.tensor(greys, dtype=torch.float64)[:, None, None, None].expand(-1, 3, side, side)


def light(m, n):
    """SSIM of two images of constant light m and n in [0, 1]: Wang et al. 2004, eq. 6, with C1 = 0.01^2."""
    return (2 * m * n + 1e-4) / (m * m + n * n + 1e-4)


def test_the_signal_to_noise_ratio_is_its_formula_and_infinite_for_equal_images():
    x, truth = normal(4, 3, 8, 8).clamp(-1, 1).double(), normal(4, 3, 8, 8, seed=1).clamp(-1, 1).double()
    error = ((x - truth).numpy() ** 2).mean((1, 2, 3))
    np.testing.assert_allclose(psnr(x, truth), 10 * np.log10(4 / error), rtol=1e-9)
    np.testing.assert_allclose(psnr(x.float(), truth.float()), 10 * np.log10(4 / error), rtol=1e-5)
    torch.testing.assert_close(psnr(x + 0.1, x), torch.full((4,), 20 * np.log10(20)), check_dtype=False)
    assert psnr(x, x).isinf().all()


def test_the_similarity_of_constant_images_is_that_of_their_light():
    """Grey 0.04 and -0.04 are 0.52 and 0.48 of white: nearly equal. Taken on [-1, 1] they would be 1 and -1 apart."""
    pairs = [(0.04, -0.04), (1, -1), (0.5, 0.5), (-1, -0.9), (0, 0.3)]
    x, truth = (constant(*each) for each in zip(*pairs, strict=True))
    expected = torch.tensor([light((a + 1) / 2, (b + 1) / 2) for a, b in pairs], dtype=torch.float64)
    torch.testing.assert_close(ssim(x, truth), expected, rtol=0, atol=1e-9)
    assert light(0.52, 0.48) == pytest.approx(0.9968, abs=1e-4)


def test_equal_images_have_a_similarity_of_one_and_an_inverted_one_is_below_zero():
    x = normal(4, 3, 16, 16).clamp(-1, 1).double()
    torch.testing.assert_close(ssim(x, x), torch.ones(4, dtype=torch.float64))
    assert (ssim(-x, x) < 0).all(), "a negative covariance"


def windows(x):
    """All windows (n, SIDE, SIDE) of an image (H, W), one around each pixel, with edges that reflect."""
    padded = F.pad(x[None, None], (SIDE // 2,) * 4, mode="reflect")[0, 0]
    return padded.unfold(0, SIDE, 1).unfold(1, SIDE, 1).reshape(-1, SIDE, SIDE)


def test_the_similarity_is_the_mean_of_the_papers_formula_over_windows():
    """Wang et al. 2004, eq. 13 and 14 to 16, of images in [0, 1], with weights that are a Gaussian of std 1.5."""
    x, truth = (normal(1, 1, 14, 12, seed=k).clamp(-1, 1).double() for k in (0, 1))
    line = torch.exp(-((torch.arange(SIDE) - SIDE // 2) ** 2) / (2 * 1.5**2)).double()
    weight = torch.outer(line, line) / line.sum() ** 2
    a, b = (windows((each[0, 0] + 1) / 2) for each in (x, truth))
    m, n = ((weight * each).sum((1, 2)) for each in (a, b))
    v, w, c = ((weight * p * q).sum((1, 2)) - r * s for p, q, r, s in ((a, a, m, m), (b, b, n, n), (a, b, m, n)))
    expected = light(m, n) * (2 * c + 9e-4) / (v + w + 9e-4)
    torch.testing.assert_close(ssim(x, truth), expected.mean()[None], rtol=0, atol=1e-6)


def test_an_autoencoder_measures_its_reconstructions_so():
    """Of constant images, by a stage that gives other constants; small images have no similarity."""
    autoencoder = KLAutoencoder(Autoencoder((3, 16, 16), channels=2, width=16, multipliers=(1, 1)), batch_size=2)
    found = autoencoder.nearness(constant(0.04, 0.5), constant(-0.04, 0.5))
    expected = torch.tensor([light(0.52, 0.48), 1.0], dtype=torch.float64)
    torch.testing.assert_close(found["ssim"], expected, rtol=0, atol=1e-9)
    assert float(found["psnr"][0]) == pytest.approx(20 * np.log10(2 / 0.08))
    assert nearness(*(constant(0.1, side=SIDE - 1),) * 2).keys() == {"psnr"}
