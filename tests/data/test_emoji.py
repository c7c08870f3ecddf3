"""EmojiSet 32: its pixels, its splits, and that words and images belong together."""

import io
import zipfile
from importlib.resources import files

import numpy as np
import pytest
from PIL import Image

from difflab.data import DataModule, Emoji
from difflab.data import emoji as module
from helpers.conf import built, composed

PACKED = files("difflab.data") / "emoji32.zip"
ROWS = Emoji().drawings(), Emoji().drawings(held_out=True)


def test_the_pixels_are_the_published_ones():
    """The sum is that which the script that builds the set prints, of rows by code and style."""
    with PACKED.open("rb") as file:
        pixels, rows = module.read(file)
    assert module.SHA256 == "db2af2dbe803162161345eba74c1396ac192af50e277c0f142e7e6d3fa3c84a4"
    assert pixels.shape == (5616, 32, 32, 3)
    images, held_out = Emoji().load(), np.array([row.held_out for row in rows])
    for split, mine, chosen in zip((images.train, images.test), ROWS, (~held_out, held_out), strict=True):
        assert np.array_equal(split.x.permute(0, 2, 3, 1).numpy(), pixels[chosen])
        assert [row for row in rows if row.held_out == mine[0].held_out] == mine


def test_a_concept_is_in_one_split_in_all_styles():
    trained, held_out = ({row.code for row in rows} for rows in ROWS)
    assert not trained & held_out
    assert not {row.caption for row in ROWS[0]} & {row.caption for row in ROWS[1]}
    assert len(trained | held_out) == 1899
    assert 0.09 < len(held_out) / 1899 < 0.11
    for rows in ROWS:
        assert len({(row.code, row.style) for row in rows}) == len(rows)
        assert {row.style for row in rows} == {"noto", "twemoji", "fluent3d"}


def test_labels_are_styles_or_groups():
    counts = {"style": [1892, 1873, 1851], "group": [503, 1102, 475, 390, 654, 255, 789, 671, 777]}
    for labels, expected in counts.items():
        images = Emoji(labels).load()
        assert (images.train.y.bincount() + images.test.y.bincount()).tolist() == expected
        for split, rows in zip((images.train, images.test), ROWS, strict=True):
            assert [images.names[k] for k in split.y.tolist()] == [getattr(row, labels) for row in rows]


def test_words_fit_their_images():
    """Flags are code points of two letters, hearts and squares have their colours in all styles."""
    for row in (*ROWS[0], *ROWS[1]):
        letters = [int(each, 16) - 0x1F1E6 for each in row.code.split("-")]
        assert row.caption.isprintable()
        assert row.caption.strip() == row.caption != ""
        if all(0 <= letter < 26 for letter in letters):
            assert (row.group, row.caption[:6]) == ("flags", "flag: ")
            assert "".join(chr(65 + letter) for letter in letters) in row.tags.split()
    images, colours = Emoji().load(), {}
    for split, rows in zip((images.train, images.test), ROWS, strict=True):
        for k, row in enumerate(rows):
            colours.setdefault(row.caption, []).append(split.x[k, :, 12:20, 12:20].float().mean((1, 2)).tolist())
    for caption, where in {"red heart": (0,), "green heart": (1,), "blue heart": (2,), "yellow heart": (0, 1)}.items():
        assert len(colours[caption]) == 3
        for colour in colours[caption]:
            bright = sorted(range(3), key=lambda channel: -colour[channel])[: len(where)]
            assert sorted(bright) == [*where], caption
    assert max(max(colour) for colour in colours["black large square"]) < 100
    assert min(min(colour) for colour in colours["white large square"]) > 200


def test_a_prompt_names_caption_and_style():
    prompts = {row.prompt for row in ROWS[0]}
    assert {"fire, noto style", "fire, twemoji style", "fire, fluent3d style"} <= prompts


def repacked(change):
    """The file with one member changed."""
    name, content = change
    file = io.BytesIO()
    with zipfile.ZipFile(PACKED.open("rb")) as old, zipfile.ZipFile(file, "w") as new:
        for each in old.namelist():
            if each != name:
                new.writestr(each, old.read(each))
            elif content is not None:
                new.writestr(each, content)
    return file.getvalue()


def test_a_damaged_file_is_refused():
    whole = PACKED.read_bytes()
    with zipfile.ZipFile(PACKED.open("rb")) as archive:
        sheet = np.array(Image.open(archive.open("noto.webp")))
    sheet[0, 0, 0] ^= 1
    other = io.BytesIO()
    Image.fromarray(sheet).save(other, "WEBP", lossless=True, quality=0, method=0)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for damaged, reason in (
        (whole[:5000], "not a zip file"),
        (bytes(flipped), "Bad CRC-32"),
        (repacked(("twemoji.webp", None)), "no item named 'twemoji.webp'"),
        (repacked(("twemoji.webp", b"no image")), "cannot identify"),
        (repacked(("noto.webp", other.getvalue())), f"its pixels have sha256 .*, not {module.SHA256}"),
    ):
        with pytest.raises(ValueError, match=rf"emoji32\.zip is damaged.*{reason}.*install difflab again"):
            module.read(io.BytesIO(damaged))


def test_the_classes_follow_the_labels():
    for labels, classes in (("style", 3), ("group", 9)):
        data = built("data", "emoji", f"data.source.labels={labels}")
        assert isinstance(data, DataModule)
        assert (data.source.labels, data.classes) == (labels, classes)
        assert len(data.images.names) == classes
    with pytest.raises(ValueError, match=r"data\.source\.labels=subgroup: choose style or group or caption"):
        composed("data=emoji", "data.source.labels=subgroup")
    with pytest.raises(ValueError, match="labels='subgroup': choose style, group or caption"):
        Emoji("subgroup")
