"""Conditions that are more than a class: a number, a low resolution."""

import numpy as np
import pytest
import torch
from PIL import Image

from difflab.data import Brightness, Conditioned, Fashion16, LowResolution


def test_brightness_is_minus_one_for_black_and_one_for_white():
    x = torch.tensor([0, 255, 51], dtype=torch.uint8).view(3, 1, 1, 1).expand(-1, 1, 4, 4)
    torch.testing.assert_close(Brightness()(x), torch.tensor([[-1.0], [1.0], [-0.6]]))


def test_a_low_resolution_is_pillows_box_filter_repeated():
    x = torch.randint(256, (3, 1, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
    for factor in (1, 2, 4):
        found = LowResolution(factor)(x)
        for one, low in zip(x, found, strict=True):
            image = Image.fromarray(one[0].float().numpy())
            small = image.resize((8 // factor, 8 // factor), Image.Resampling.BOX)
            theirs = torch.from_numpy(np.array(small.resize((8, 8), Image.Resampling.NEAREST)))
            torch.testing.assert_close(low[0], theirs / 127.5 - 1, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="factor=3 does not divide the sides of 8x8"):
        LowResolution(3)(x)


def test_label_i_looks_up_the_condition_of_image_i():
    for condition in (Brightness(), LowResolution()):
        images, plain = Conditioned(Fashion16(), condition).load(), Fashion16().load()
        for split, own in ((images.train, plain.train), (images.test, plain.test)):
            assert torch.equal(split.x, own.x)
            assert torch.equal(images.lookup[split.y], condition(own.x))
        assert images.classes == len(plain.train) + len(plain.test)
