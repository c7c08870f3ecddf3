"""Laws of the pictures: every sample is where it belongs, and every text can be read."""

import itertools
import json

import numpy as np
import pytest
import torch
from PIL import Image

from difflab.data.codec import Pixels, Points
from difflab.experiment.picture.files import LAYOUT, bare, save_gif, save_png
from difflab.experiment.picture.points import INK, START, extent_of, paths, scatter
from difflab.experiment.picture.samples import WIDEST, class_names, sample_sheet
from difflab.experiment.picture.sheet import GAP, SMALLEST, Sheet, ticks
from difflab.experiment.picture.text import ELLIPSIS, font, number, width_of, wrapped
from difflab.experiment.picture.tile import tile, tiles
from helpers.pictures import faults, layout, tiles_of, words_of

TEXTS = (
    "",
    "cat",
    "Ankle boot",
    "x0 → x_t, √(α² + σ²), ångström, Ελληνικά",
    "a_name_without_any_space_that_is_far_too_long_for_a_tile",
    "W" * 70,
    "a long sentence of many words that has to be cut somewhere " * 3,
)


def images(n, channels=1, height=8, width=8):
    return torch.randint(0, 256, (n, channels, height, width), generator=torch.Generator().manual_seed(n)).byte()


def sheets():
    """Sheets of all kinds of tiles and of texts, by what they are."""
    shapes = [(1, 8, 8), (3, 32, 32), (4, 9, 30), (2, 40, 5)]
    for shape, text, (down, across) in itertools.product(shapes, TEXTS, [(1, 1), (2, 5)]):
        every = tiles(images(down * across, *shape), Pixels())
        rows = [every[k : k + across] for k in range(0, len(every), across)]
        captions = [[text] * across] * down
        yield (shape, text, down, across), Sheet(rows, captions, [text] * down, text, text)
    for extent in (0.013, 1.0, 3.0, 77.0, 1e6):
        rows = [[scatter(extent * torch.randn(50, 2) / 3, 160, extent)] * 3] * 2
        yield extent, Sheet(rows, [["caption"] * 3], ["row"] * 2, "title", "footer", extent)


def test_a_tile_is_the_image_pixel_for_pixel():
    for channels in (1, 3, 4):
        image = torch.randint(0, 256, (channels, 5, 7), dtype=torch.uint8)
        assert np.array_equal(np.asarray(tile(image)).reshape(5, 7, channels), image.permute(1, 2, 0))
    pair = torch.randint(0, 256, (2, 5, 7), dtype=torch.uint8)
    assert np.array_equal(np.asarray(tile(pair)), torch.cat([*pair], 1))


def test_labels_lie_inside_the_canvas_and_meet_neither_each_other_nor_a_tile():
    wrong = {what: found for what, sheet in sheets() if (found := faults(sheet.image, cloud=bool(sheet.extent)))}
    assert not wrong


def test_the_law_of_labels_finds_each_fault():
    sheet = Sheet([tiles(images(1), Pixels())], [["caption"]], ["row"], "title", "footer")
    assert faults(sheet.image) == []
    for box, fault in {(-1, 0, 5, 5): "outside", (10, 10, 40, 40): "meets", (60, 60, 80, 80): "on a tile"}.items():
        image = sheet.image.copy()
        found = layout(image)
        image.info[LAYOUT] = json.dumps({**found, "labels": [*found["labels"], {"text": "x", "box": box}]})
        assert any(fault in each for each in faults(image)), fault
    for value, fault in {0: "saturated", 128: "blank", 255: "saturated"}.items():
        assert any(fault in each for each in faults(Sheet([[Image.new("L", (8, 8), value)]]).image))


def test_nothing_is_drawn_outside_the_boxes():
    """The boxes of the law are those of what is really drawn."""
    for what, sheet in sheets():
        drawn = np.asarray(sheet.image.convert("L")) < 255
        found, edge = layout(sheet.image), 5 if sheet.extent else 1  # ticks and frames
        boxes = [label["box"] for label in found["labels"]]
        boxes += [
            (left - edge, top - edge, right + edge, bottom + edge)
            for row in found["tiles"]
            for left, top, right, bottom in row
        ]
        for left, top, right, bottom in boxes:
            drawn[max(top, 0) : bottom, max(left, 0) : right] = False
        assert not drawn.any(), what


def test_lines_fit_their_width_and_only_an_ellipsis_hides_words():
    for text, width, most in itertools.product(TEXTS, (20, 62, 300), (1, 2, 100)):
        lines = wrapped(text, width, 12, most)
        assert len(lines) <= most
        assert all(width_of(line, 12) <= width for line in lines)
        kept = "".join(lines).replace(" ", "")
        assert kept == text.replace(" ", "") or ELLIPSIS in kept, (text, width)
    assert wrapped("Ankle boot", 62, 12) == ["Ankle", "boot"]
    assert wrapped("T-shirt/top", 45, 12) == ["T-shirt/", "top"]


def test_the_font_has_the_signs_of_formulas():
    missing = font(12).getmask("\uffff").getbbox(), bytes(font(12).getmask("\uffff"))
    for sign in "→−∞√αλσ²ε≤…·○●åéßΩ":
        assert (font(12).getmask(sign).getbbox(), bytes(font(12).getmask(sign))) != missing, sign


def test_tiles_are_enlarged_by_whole_pixels_to_a_size_that_can_be_seen():
    for shape in [(1, 8, 8), (3, 32, 32), (1, 28, 28), (1, 5, 7), (3, 100, 70)]:
        x = images(6, *shape)
        sheet = sample_sheet(x, torch.zeros(6).long(), (), Pixels(), "title", "footer")
        assert min(sheet.tile) >= SMALLEST
        drawn = np.asarray(sheet.image)
        for one, (left, top, right, bottom) in zip(x, [box for row in sheet.tiles for box in row], strict=True):
            zoom = (right - left) // shape[2]
            whole = np.asarray(tile(one).convert("RGB")).repeat(zoom, 0).repeat(zoom, 1)
            assert np.array_equal(drawn[top:bottom, left:right], whole)


def test_without_classes_a_sheet_is_about_square():
    for n, shape, expected in [
        (64, (1, 8, 8), (8, 8)),
        (16, (3, 32, 32), (4, 4)),
        (7, (1, 8, 8), (3, 3)),
        (8, (1, 8, 32), (2, 4)),
    ]:
        sheet = sample_sheet(images(n, *shape), torch.zeros(n).long(), (), Pixels())
        assert tiles_of(sheet.image) == expected
        assert sheet.labels == []


def test_each_class_has_its_columns_with_its_name_above():
    names = ("bag", "coat", "boot")
    for n, across in [(2, 2), (3, 3), (6, 3), (64, 9)]:
        sheet = sample_sheet(images(n), torch.arange(n) % 3, names, Pixels())
        assert tiles_of(sheet.image)[0] == across
        boxes = sheet.tiles[0]
        for label, (left, top, right, _), k in zip(sheet.labels, boxes, range(across), strict=True):
            assert label.text == names[k % 3]
            assert left <= label.left < right
            assert label.box[3] <= top


def test_tiles_have_their_own_names_where_columns_are_of_no_class():
    labels, names = torch.tensor([1, 1, 0, 2, 1]), ("bag", "coat", "boot")
    sheet = sample_sheet(images(5), labels, names, Pixels())
    assert [label.text for label in sheet.labels] == ["coat", "coat", "bag", "boot", "coat"]
    many = [str(k) for k in range(WIDEST + 1)]
    sheet = sample_sheet(images(30), torch.arange(30) % len(many), many, Pixels())
    assert tiles_of(sheet.image) == (6, 5)
    assert [label.text for label in sheet.labels] == [many[k % len(many)] for k in range(30)]
    assert class_names(names, 3) == names
    assert class_names((), 2) == class_names(names, 2) == ["class 0", "class 1"]


def test_the_bare_tiles_can_be_cut_out_of_a_png(tmp_path):
    rows = [tiles(images(4), Pixels()), tiles(images(3), Pixels())]
    labelled = Sheet(rows, [["a", "b", "c", "d"]], ["long title of a row", "s"], "title", "footer").image
    plain = Sheet(rows)
    with Image.open(save_png(labelled, tmp_path / "labelled.png")) as image:
        assert words_of(image) == words_of(labelled)
        assert np.array_equal(bare(image), plain.image.crop(plain.area))
        assert bare(image).size == tuple(k * (SMALLEST + GAP) + GAP for k in (4, 2))
    with Image.open(save_png(Image.new("L", (9, 5)), tmp_path / "other.png")) as image:
        assert bare(image).size == (9, 5)
    for damaged in (
        "",
        "{}",
        "[]",
        '{"area": 3}',
        '{"area": [0, 0, 9999999, 5]}',
        '{"area": [1, 2]}',
        '{"area": "wide"}',
    ):
        image = Image.new("L", (9, 5))
        image.info[LAYOUT] = damaged
        assert bare(image).size == (9, 5)


def test_the_frames_of_a_gif_have_one_size_and_their_texts(tmp_path):
    frames = [Sheet([tiles(images(2), Pixels())], title=f"t = {number(t)}").image for t in (0.5, 0.123, 0)]
    with Image.open(save_gif(frames, tmp_path / "f.gif")) as image:
        seen = [np.asarray(image.convert("L")) for k in range(image.n_frames) if image.seek(k) is None]
    assert len(seen) == 3
    top = frames[0].height - 2 * SMALLEST
    assert all((a[:top] != b[:top]).any() for a, b in itertools.pairwise(seen))


def test_points_are_dark_where_they_lie_and_nowhere_else():
    corners = np.asarray(scatter(torch.tensor([[2.9, 2.9], [-2.9, -2.9], [0.0, 1.5]])))
    dark = (corners == INK).all(-1)
    assert dark[6, 393]  # above right
    assert dark[393, 6]
    assert dark[100, 200]
    assert dark.sum() + (corners == 255).all(-1).sum() == dark.size
    assert dark.sum() < 0.01 * dark.size


def test_more_points_are_darker():
    crowd = torch.cat([torch.zeros(500, 2), torch.ones(20, 2)])
    shade = np.asarray(scatter(crowd)).sum(-1)
    assert shade[200, 200] < shade[133, 266] < shade[10, 10] == 3 * 255


def test_points_out_of_sight_are_on_the_edge_and_lost_ones_left_out():
    lost = np.asarray(scatter(torch.tensor([[torch.nan, 0.0], [torch.inf, 0.0]])))
    assert (lost == 255).all()
    far = np.asarray(scatter(torch.tensor([[1e30, 0.0]])))
    assert (far[200, -1] == INK).all()


def test_the_numbers_of_axes_stand_at_their_values():
    sheet = sample_sheet(torch.randn(50, 2), torch.zeros(50).long(), (), Points())
    ((left, top, right, bottom),) = sheet.tiles[0]
    values = ticks(3.0, right - left)
    assert values == [-2, -1, 0, 1, 2]
    upright, level = sheet.labels[: len(values)], sheet.labels[len(values) :]
    for value, beside, below in zip(values, upright, level, strict=True):
        assert beside.text == below.text == number(value)
        middle = (beside.box[1] + beside.box[3]) / 2
        assert middle == pytest.approx(top + (1 - value / 3) / 2 * (bottom - top), abs=1)
        middle = (below.box[0] + below.box[2]) / 2
        assert middle == pytest.approx(left + (1 + value / 3) / 2 * (right - left), abs=1)


def test_a_path_leads_from_its_start_to_its_end():
    points = torch.tensor([[[-2.0, 1.0], [torch.nan, 0.0]], [[0.0, 0.0], [1.0, 1.0]], [[2.0, -1.0], [1.0, 2.0]]])
    drawn = np.asarray(paths(points, 3.0, 300)).astype(int)
    assert np.abs(drawn - np.array(START)).sum(-1)[100 - 4 : 100 + 4, 50 - 4 : 50 + 4].min() < 150
    assert (drawn[200, 250] == INK).all()
    assert (drawn[150, 150] < 255).any(), "the line is drawn"
    assert (drawn[:, 190:210] == 255).all(-1)[:120].all(), "a path that is not finite is left out"
    assert extent_of(points) == pytest.approx(1.08 * 2)
    assert extent_of(torch.full((1, 1, 2), torch.nan)) == 1


def test_numbers_are_short():
    cases = {0.14285: "0.143", -3.25: "−3.25", 1000.0: "1000", -0.0: "0", 1e30: "1e+30", 0.0001: "0.0001"}
    cases |= {float("inf"): "∞", float("-inf"): "−∞"}
    assert {value: number(value) for value in cases} == cases
