"""Laws of the pictures: every sample is where it belongs."""

import numpy as np
import torch

from difflab.data.codec import Pixels, Points
from difflab.experiment.picture import INK, picture, tile


def test_a_tile_is_the_image_pixel_for_pixel():
    for channels in (1, 3, 4):
        image = torch.randint(0, 256, (channels, 5, 7), dtype=torch.uint8)
        assert np.array_equal(np.asarray(tile(image)).reshape(5, 7, channels), image.permute(1, 2, 0))
    pair = torch.randint(0, 256, (2, 5, 7), dtype=torch.uint8)
    assert np.array_equal(np.asarray(tile(pair)), torch.cat([*pair], 1))


def test_images_stand_row_by_row():
    images = torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1).expand(-1, -1, 8, 8)
    sheet = np.asarray(picture(images, 3, Pixels()))
    assert sheet.shape == (2 * 50 + 2, 3 * 50 + 2)
    middles = sheet[26::50, 26::50]
    assert middles.tolist() == [[0, 1, 2], [3, 4, 255]]


def test_points_are_dark_where_they_lie_and_nowhere_else():
    corners = np.asarray(picture(torch.tensor([[2.9, 2.9], [-2.9, -2.9], [0.0, 1.5]]), 8, Points()))
    dark = (corners == INK).all(-1)
    assert dark[6, 393]  # above right
    assert dark[393, 6]
    assert dark[100, 200]
    assert dark.sum() + (corners == 255).all(-1).sum() == dark.size
    assert dark.sum() < 0.01 * dark.size


def test_more_points_are_darker():
    crowd = torch.cat([torch.zeros(500, 2), torch.ones(20, 2)])
    shade = np.asarray(picture(crowd, 8, Points())).sum(-1)
    assert shade[200, 200] < shade[133, 266] < shade[10, 10] == 3 * 255


def test_points_out_of_sight_are_on_the_edge_and_lost_ones_left_out():
    lost = np.asarray(picture(torch.tensor([[torch.nan, 0.0], [torch.inf, 0.0]]), 8, Points()))
    assert (lost == 255).all()
    far = np.asarray(picture(torch.tensor([[1e30, 0.0]]), 8, Points()))
    assert (far[200, -1] == INK).all()
