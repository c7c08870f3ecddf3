"""Folders of images with captions: where texts are found, and what is said where they are not."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from difflab.data import CaptionedFolder
from difflab.data.caption_files import captioned
from difflab.experiment.parts.identity import identity

WORDS = ("red", "green", "blue")


@pytest.fixture
def folder(tmp_path):
    """Twelve images: six in metadata.jsonl, of which two below the folder, and six with a text beside them."""
    (tmp_path / "more").mkdir()
    rows = []
    for k in range(12):
        path = tmp_path / ("more" if k in (1, 2) else ".") / f"{k:02d}.png"
        pixels = np.zeros((8, 8, 3), np.uint8)
        pixels[..., k % 3] = 20 * k
        Image.fromarray(pixels).save(path)
        text = f"{WORDS[k % 3]} {k // 3}"
        if k < 6:
            rows.append({"file_name": str(path.relative_to(tmp_path)), "text": f" {text} "})
        else:
            path.with_suffix(".txt").write_text(text + "\n")
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    return tmp_path


def test_each_image_has_the_text_of_the_table_or_of_the_file_beside_it(folder):
    texts, without = captioned(folder)
    assert without == []
    for path, text in texts.items():
        k = int(path.stem)
        assert text == f"{WORDS[k % 3]} {k // 3}"
    images = CaptionedFolder(str(folder), [3, 8, 8], held_out=0.3).load()
    assert len(images.train) + len(images.test) == 12
    for split in (images.train, images.test):
        for x, label in zip(split.x, split.y.tolist(), strict=True):
            word, number = images.names[label].split()
            k = 3 * int(number) + WORDS.index(word)
            assert torch.equal(x.amax((1, 2)), torch.eye(3, dtype=torch.uint8)[k % 3] * 20 * k)
    assert not {*images.train.y.tolist()} & {*images.test.y.tolist()}


def test_equal_texts_are_one_caption_and_stay_together(folder):
    (folder / "06.txt").write_text("red 0")
    images = CaptionedFolder(str(folder), [3, 8, 8], held_out=0.3).load()
    label = images.names.index("red 0")
    assert len(images.names) == 11
    assert sorted([(images.train.y == label).sum().item(), (images.test.y == label).sum().item()]) == [0, 2]


def test_what_is_missing_is_counted_and_named(folder):
    (folder / "07.txt").unlink()
    (folder / "08.txt").write_text("  \n")
    source = CaptionedFolder(str(folder), [3, 8, 8], held_out=0.3)
    with pytest.raises(ValueError, match=r"2 of 12 images have no caption, .*07\.png first: .*skip_uncaptioned=true"):
        source.load()
    images = CaptionedFolder(str(folder), [3, 8, 8], held_out=0.3, skip_uncaptioned=True).load()
    assert len(images.train) + len(images.test) == 10


def test_hidden_folders_are_left_out_with_their_tables_and_images(folder):
    """A table in a hidden folder says nothing, and would be refused if it was read."""
    expected = captioned(folder)
    for hidden in (".cache", ".git/lfs", "more/.trash", "__MACOSX"):
        (folder / hidden).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(folder / hidden / "a.png")
        for text in ('{"file_name": "a.png", "text": "x"}', '{"file_name": "gone.png", "text": "x"}', "{"):
            (folder / hidden / "metadata.jsonl").write_text(text)
            assert captioned(folder) == expected
    Image.new("RGB", (8, 8)).save(folder / ".a.png")
    (folder / ".metadata.jsonl").write_text("{")
    assert captioned(folder) == expected


def test_tables_that_are_wrong_are_refused(folder, subtests):
    table = folder / "metadata.jsonl"
    good = table.read_text()
    for line, message in (
        ('{"file_name": "00.png"}', "line 9: should be"),
        ("[1, 2]", "line 9: should be"),
        ('{"file_name": "00.png", "text": ["a", "b"]}', "line 9: should be"),
        ('{"file_name": null, "text": "x"}', "line 9: should be"),
        ("{", "line 9: should be"),
        ('{"file_name": "gone.png", "text": "x"}', r"1 files that are no images in .*gone\.png first"),
        ('{"file_name": "/etc/passwd", "text": "x"}', "1 files that are no images"),
    ):
        with subtests.test(line):
            table.write_text(good + "\n" + line)
            with pytest.raises(ValueError, match=message):
                captioned(folder)


def test_a_text_that_is_null_is_none(folder):
    rows = (folder / "metadata.jsonl").read_text()
    (folder / "metadata.jsonl").write_text(rows.replace('" red 0 "', "null"))
    texts, without = captioned(folder, skip=True)
    assert without == [folder / "00.png"]
    assert "None" not in texts.values()
    with pytest.raises(ValueError, match=r"1 of 12 images have no caption, .*00\.png first"):
        captioned(folder)


def test_a_byte_order_mark_is_no_text_and_other_codes_are_named(folder, subtests):
    expected = captioned(folder)
    files = [folder / "metadata.jsonl", folder / "07.txt"]
    for path in files:
        content = path.read_bytes()
        with subtests.test(path.name):
            path.write_bytes(b"\xef\xbb\xbf" + content)
            assert captioned(folder) == expected
            path.write_bytes(content + "é".encode("latin-1"))
            with pytest.raises(ValueError, match=rf"{path.name} is no text in UTF-8: save it as UTF-8"):
                captioned(folder)
            path.write_bytes(content)
    (folder / "00.txt").write_bytes(b"\xe9")  # the table has its text
    assert captioned(folder) == expected


def test_a_table_may_name_whole_paths(folder, monkeypatch):
    expected = captioned(folder)
    table = folder / "metadata.jsonl"
    table.write_text(table.read_text().replace('"file_name": "', f'"file_name": "{folder}/'))
    assert captioned(folder) == expected
    monkeypatch.chdir(folder.parent)
    assert captioned(folder.name) == expected


def test_settings_that_were_added_change_no_run_that_does_not_use_them():
    node = {"_target_": "difflab.data.CaptionedFolder", "root": "x", "shape": [3, 8, 8]}
    before = {
        "class": "data:CaptionedFolder",
        "shape": [3, 8, 8],
        "held_out": 0.1,
        "seed": 0,
        "skip_uncaptioned": False,
    }
    assert identity(node) == identity({**node, "values": None, "skip_unreadable": False}) == before
    for added in ({"values": [0, 4095]}, {"skip_unreadable": True}):
        assert identity({**node, **added}) == {**before, **added}


def test_empty_places_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        captioned(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="no images in"):
        captioned(tmp_path)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"no image in .* has a caption"):
        captioned(tmp_path, skip=True)
