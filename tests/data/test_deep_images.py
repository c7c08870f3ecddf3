"""Which values are black and white, and what is transparent, of arrays and of images with more than 8 bits."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from difflab.data import CaptionedFolder, Folder

N = 40


def array_of(tmp_path, x, shape, **more):
    """The images of an array, all of them in the order of their bytes, and the summary."""
    np.savez(tmp_path / "a.npz", x=x)
    images = Folder(str(tmp_path / "a.npz"), shape, **more).load()
    found = torch.cat([images.train.x, images.test.x]).numpy()
    return ordered(found), images.summary


def ordered(x):
    return x[np.argsort([image.tobytes() for image in x])]


def test_given_values_mean_the_same_for_every_type_of_an_array(tmp_path, subtests):
    """Without resizing value v is 255 (v - low) / (high - low), rounded."""
    bits = np.random.default_rng(0).integers(0, 2, (N, 4, 4)).astype(np.uint8)
    for kind in ("uint8", "uint16", "int64", "float32"):
        for low, high in ((0, 1), (-1, 1), (0, 2)):
            with subtests.test(kind, low=low, high=high):
                found, summary = array_of(tmp_path, bits.astype(kind), (1, 4, 4), values=(low, high))
                expected = np.round((bits - np.float64(low)) * 255 / (high - low)).astype(np.uint8)
                assert np.array_equal(found, ordered(expected[:, None]))
                assert f"values {low}..{high} are black to white" in summary


def test_whole_bytes_as_values_change_no_bytes(tmp_path):
    """Resized, too, and with transparency."""
    x = np.random.default_rng(0).integers(0, 256, (N, 9, 7, 4)).astype(np.uint8)
    for shape in ((1, 4, 4), (3, 4, 4), (4, 5, 5)):
        plain, summary = array_of(tmp_path, x, shape)
        assert "black to white" not in summary
        assert np.array_equal(array_of(tmp_path, x, shape, values=(0.0, 255.0))[0], plain)


def test_values_that_change_nothing_are_not_said_to_be_used(tmp_path):
    for k in range(N):
        Image.new("L", (4, 4), k).save(tmp_path / f"{k}.png")
    images = Folder(str(tmp_path), (1, 4, 4), values=(0.0, 20.0)).load()
    assert "data.source.values changes nothing: the files have 8 bits" in images.summary
    assert "black to white" not in images.summary
    assert images.train.x.max() > 20
    Image.fromarray(np.full((4, 4), 10, np.uint16)).save(tmp_path / "deep.png")
    assert "values 0..20 are black to white" in Folder(str(tmp_path), (1, 4, 4), values=(0.0, 20.0)).load().summary


def test_transparency_of_an_array_is_the_same_at_every_depth(tmp_path, subtests):
    """As that of 8 bits: on white where there is no fourth channel, whatever the range of the colours."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (N, 4, 4, 4)).astype(np.uint8)
    x[0, 0, 0] = 0  # black, and clear
    x[0, 0, 1] = 255
    colours, alpha = x[..., :3].astype(np.float64), x[..., 3:].astype(np.float64)
    cases = {
        "floats 0..1": np.concatenate([colours, alpha], -1) / 255,
        "floats -1..1": np.concatenate([colours / 127.5 - 1, alpha / 255], -1),
        "16 bits": np.concatenate([colours, alpha], -1).astype(np.uint16) * 257,
        "whole numbers": x.astype(np.int64),
    }
    for shape in ((1, 4, 4), (3, 4, 4), (4, 4, 4)):
        np.savez(tmp_path / "a.npz", x=x)
        split = Folder(str(tmp_path / "a.npz"), shape).load().train
        for name, deep in cases.items():
            with subtests.test(name, channels=shape[0]):
                np.savez(tmp_path / "a.npz", x=deep)
                found = Folder(str(tmp_path / "a.npz"), shape).load().train
                assert (found.x.int() - split.x.int()).abs().max() <= 1
    with subtests.test("given values are those of the colours"):
        deep = np.concatenate([colours * 7 - 3, alpha / 255], -1)
        np.savez(tmp_path / "a.npz", x=deep)
        found = Folder(str(tmp_path / "a.npz"), (4, 4, 4), values=(-3.0, 255 * 7.0 - 3)).load().train
        assert (found.x.int() - split.x.int()).abs().max() <= 1
    with subtests.test("not finite"):
        for wrong in (np.nan, np.inf):
            deep[3, 2, 2, 3] = wrong
            np.savez(tmp_path / "a.npz", x=deep)
            with pytest.raises(ValueError, match=r"1 of 40 images cannot be read:\n.*3: values that are not finite"):
                Folder(str(tmp_path / "a.npz"), (3, 4, 4), values=(0.0, 1.0)).load()


def test_the_transparent_grey_of_a_deep_file_is_white(tmp_path):
    x = np.full((4, 4), 65535, np.uint16)
    x[0], x[1] = 7, 0
    for k in range(N):
        Image.fromarray(x).save(tmp_path / f"{k}.png", transparency=7)
    found = Folder(str(tmp_path), (1, 4, 4)).load().train.x
    assert found[0, 0].tolist() == [[255] * 4, [0] * 4, [255] * 4, [255] * 4]
    assert Folder(str(tmp_path), (4, 4, 4)).load().train.x[0, 3].tolist() == [[0] * 4, *[[255] * 4] * 3]


def captioned(folder, deep):
    """A folder of deep images, each with its own caption."""
    for k, value in enumerate(deep):
        Image.fromarray(np.full((4, 4), value, np.uint16)).save(folder / f"{k:02}.png")
    rows = [json.dumps({"file_name": f"{k:02}.png", "text": f"number {k:02}"}) for k in range(len(deep))]
    (folder / "metadata.jsonl").write_text("\n".join(rows))


def test_captioned_images_of_both_splits_have_one_range(tmp_path):
    """One image alone needs 16 bits: whichever split it falls into, value v is v / 257."""
    deep = np.full(20, 2000)
    deep[7] = 65535
    captioned(tmp_path, deep)
    sides = set()
    for seed in range(12):
        images = CaptionedFolder(str(tmp_path), [1, 4, 4], 0.3, seed).load()
        for split in (images.train, images.test):
            for x, label in zip(split.x, split.y.tolist(), strict=True):
                k = int(images.names[label].split()[1])
                assert (x == round(deep[k] / 257)).all()
                sides |= {split is images.test} if k == 7 else set()
        assert "values 0..65535 are black to white" in images.summary
    assert sides == {True, False}


def test_errors_of_captioned_images_name_settings_that_they_have(tmp_path):
    deep = np.full(20, 2000)
    captioned(tmp_path, deep)
    images = CaptionedFolder(str(tmp_path), [1, 4, 4], 0.3, values=(0.0, 2000.0)).load()
    assert (images.train.x == 255).all()
    (tmp_path / "03.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"1 of 20 images(.|\n)*data\.source\.skip_unreadable=true"):
        CaptionedFolder(str(tmp_path), [1, 4, 4], 0.3).load()
    rest = CaptionedFolder(str(tmp_path), [1, 4, 4], 0.3, skip_unreadable=True).load()
    assert (len(rest.train) + len(rest.test), rest.names) == (19, images.names)
    assert rest.names.index("number 03") not in [*rest.train.y.tolist(), *rest.test.y.tolist()]
    assert "left out: 1 unreadable" in rest.summary
    for k in range(20):
        Image.fromarray(np.full((4, 4), 100.0 + k, np.float32) * 9).save(tmp_path / f"{k:02}.tif")
    (tmp_path / "03.png").unlink()
    rows = [json.dumps({"file_name": f"{k:02}.tif", "text": f"number {k:02}"}) for k in range(20)]
    (tmp_path / "metadata.jsonl").write_text("\n".join(rows))
    source = CaptionedFolder(str(tmp_path), [1, 4, 4], 0.3, skip_uncaptioned=True)
    with pytest.raises(ValueError, match=r"900\.\.1071, which is no usual range: data\.source\.values=\[LOW,HIGH\]"):
        source.load()
