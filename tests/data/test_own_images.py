"""Images as people have them: nested folders, lists, arrays, 16 bits, floats; what is used and left out is said."""

import json

import numpy as np
import pytest
from PIL import Image

from difflab.data.folder import Folder
from difflab.data.layout import count_classes, scan
from difflab.data.listing import Listing, in_order, listed


def save(path, seed, size=(20, 16)):
    """A random picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = {".jfif": "JPEG", ".avif": "AVIF"}.get(path.suffix.lower())
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path, kind)


def loaded(root, shape=(3, 16, 16), **more):
    """The images of a place, split in halves unless said otherwise."""
    return Folder(str(root), shape, **{"held_out": 0.5, **more}).load()


def every(images):
    """The pixels of all images, and their labels, in order of the pixels."""
    x = np.concatenate([images.train.x.numpy(), images.test.x.numpy()])
    y = np.concatenate([images.train.y.numpy(), images.test.y.numpy()])
    order = np.argsort([row.tobytes() for row in x])
    return x[order], y[order]


def test_shards_below_a_class_are_used_and_other_files_are_counted(tmp_path):
    for i in range(20):
        save(tmp_path / "cat" / f"{i:02}.png", i)
        save(tmp_path / "dog" / f"0{i % 2}" / f"{i:02}.{('JPG', 'jfif', 'webp', 'avif', 'tif')[i % 5]}", 100 + i)
    (tmp_path / "cat" / "notes.txt").write_text("")
    (tmp_path / "dog" / "00" / "Thumbs.db").write_text("")
    (tmp_path / "__MACOSX" / "cat").mkdir(parents=True)
    (tmp_path / "__MACOSX" / "cat" / "0.png").write_text("")
    layout = scan(tmp_path)
    assert (len(layout.files), layout.names) == (40, ("cat", "dog"))
    assert layout.left_out == {".txt": 1, ".db": 1}
    images = loaded(tmp_path)
    assert np.bincount(every(images)[1]).tolist() == [20, 20]
    said = images.summary
    for word in ("2 classes", "cat ", "dog ", "left out: 1 .db, 1 .txt", "40 of 20x16 RGB", "[3, 16, 16]"):
        assert word in said


def test_no_class_is_without_training_images(tmp_path):
    for name in "abcdefgh":
        save(tmp_path / name / "0.png", ord(name))
        save(tmp_path / name / "1.png", ord(name) + 50)
    for seed in range(5):
        images = loaded(tmp_path, held_out=0.9, seed=seed)
        assert {*images.train.y.tolist()} == {*range(8)}
        assert len(images.test)


def test_lists_of_files_and_labels_are_folders_by_another_name(tmp_path):
    """A CSV, with a head or without, JSON lines and an image folder's metadata: the same images and classes."""
    rows = [(f"{('boot', 'shirt')[i % 2]}/{i:02}.png", ("boot", "shirt")[i % 2]) for i in range(20)]
    for i, (name, _) in enumerate(rows):
        save(tmp_path / "all" / name, i)
    x, y = every(loaded(tmp_path / "all"))
    lines = [json.dumps({"file_name": name, "label": label}) for name, label in rows]
    files = {
        "head.csv": "label,file\n" + "\n".join(f"{label},{name}" for name, label in rows),
        "bare.csv": "\n".join(",".join(row) for row in rows),
        "CAPITALS.TSV": "\n".join("\t".join(row) for row in rows),
        "lines.jsonl": "\n".join(lines),
    }
    for name, text in files.items():
        (tmp_path / "all" / name).write_text(text)
        images = loaded(tmp_path / "all" / name)
        assert images.names == ("boot", "shirt")
        assert count_classes(tmp_path / "all" / name) == 2
        for one, other in zip(every(images), (x, y), strict=True):
            assert np.array_equal(one, other)
    for i, (name, _) in enumerate(rows):
        save(tmp_path / "hub" / name.replace("/", "-"), i)
    (tmp_path / "hub" / "metadata.jsonl").write_text("\n".join(line.replace("/", "-") for line in lines))
    assert loaded(tmp_path / "hub").names == ("boot", "shirt")
    (tmp_path / "hub" / "metadata.jsonl").write_text('{"file_name": "boot-00.png", "text": "a boot"}')
    assert loaded(tmp_path / "hub").names == ()  # captions are no labels: the folder as it lies


def test_labels_mean_the_same_with_a_head_and_without(tmp_path):
    """Blanks around a label are none of it, and a label of blanks alone is none at all."""
    for head in ("", "file,label\n"):
        path = tmp_path / "list.csv"
        path.write_text(head + "a.png, boot\nb.png,boot \nc.png,\t2\nd.png,10\n")
        assert listed(path) == Listing([tmp_path / f"{name}.png" for name in "abcd"], [2, 2, 1, 0], ("10", "2", "boot"))
        path.write_text(head + "a.png,boot\nb.png,\nc.png,  \nd.png\n")
        with pytest.raises(ValueError, match=r"3 of 4 files have no label, as b\.png"):
            listed(path)
        path.write_text(head + "a.png,\nb.png\nc.png, ")
        assert not listed(path).labelled
        path.write_text(head + "a.png,boot\n,boot")
        with pytest.raises(ValueError, match="a row names no file"):
            listed(path)


def test_a_list_may_name_images_anywhere(tmp_path, monkeypatch):
    """By whole paths, or by paths out of its folder: those in its folder fall into the same splits as by short ones."""
    (tmp_path / "lists").mkdir()
    names = [f"{i:02}.png" for i in range(20)]
    for i, name in enumerate(names):
        save(tmp_path / "images" / name, i)
    monkeypatch.chdir(tmp_path)
    places = {"images": f"{tmp_path}/images/", "lists": f"{tmp_path}/images/"}
    known = {}
    for folder, place in [*places.items(), ("images", ""), ("lists", "../images/")]:
        (tmp_path / folder / "list.csv").write_text("\n".join(f"{place}{name},{name[1]}" for name in names))
        rows = [json.dumps({"file_name": place + name, "label": name[1]}) for name in names]
        (tmp_path / folder / "list.jsonl").write_text("\n".join(rows))
        for root in (f"{folder}/list.csv", f"{folder}/list.jsonl", tmp_path / folder / "list.csv"):
            images = loaded(root)
            key = (images.train.labelled_sha256, images.test.labelled_sha256)
            assert known.setdefault(folder, key) == key
            assert len(images.train) + len(images.test) == 20


def test_classes_that_are_numbers_have_one_order():
    for names, expected in (
        ({"10", "2", "-1"}, ("-1", "2", "10")),
        ({"1", "01", "001", "0"}, ("0", "001", "01", "1")),
        ({"²", "1"}, ("1", "²")),
        ({"--5", "4"}, ("--5", "4")),
        ({"٣", "2"}, ("2", "٣")),
        ({"1.5", "1"}, ("1", "1.5")),
    ):
        assert in_order(names) == expected


def test_arrays_are_the_same_images_whatever_their_layout(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (40, 16, 16, 3), np.uint8), np.arange(40) % 3 + 1
    expected = every_of(x.transpose(0, 3, 1, 2))
    for name, arrays in {
        "a.npz": {"x": x, "y": y},
        "b.npz": {"images": x.transpose(0, 3, 1, 2), "labels": y},
        "c.npz": {"arr_0": x.astype(np.float32) / 255, "arr_1": y.astype(str)},
        "d.npz": {"x": x.astype(np.float64) / 127.5 - 1, "y": y},
    }.items():
        np.savez(tmp_path / name, **arrays)
        images = loaded(tmp_path / name)
        assert images.names == ("1", "2", "3")
        assert np.array_equal(every(images)[0], expected)
    np.save(tmp_path / "e.npy", x[..., 0])
    assert loaded(tmp_path / "e.npy", (1, 16, 16)).names == ()
    (tmp_path / "one").mkdir()
    np.save(tmp_path / "one" / "grey.npy", x[..., 0])
    assert len(every(loaded(tmp_path / "one", (1, 16, 16)))[0]) == 40


def every_of(x):
    """Images in the order of their bytes."""
    return x[np.argsort([row.tobytes() for row in x])]


def test_deep_pictures_are_read_by_a_range_that_is_said(tmp_path):
    """12 of 16 bits, floats in 0..1, and a range that is given: value v is 255 (v - low) / (high - low), rounded."""
    rng = np.random.default_rng(0)
    deep, real = rng.integers(0, 4096, (10, 8, 8)).astype(np.uint16), rng.random((10, 8, 8)).astype(np.float32)
    deep[0, 0, :2] = 0, 4095
    for i in range(10):
        for name, one, suffix in (("g16", deep[i], "png"), ("f32", real[i], "tif"), ("odd", real[i] * 7 - 3, "tif")):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(one).save(tmp_path / name / f"{i}.{suffix}")
    for name, expected, said in (
        ("g16", deep / 4095, "values 0..4095 are black to white"),
        ("f32", real, "values 0..1 are black to white"),
    ):
        images = loaded(tmp_path / name, (1, 8, 8))
        assert np.array_equal(every(images)[0], every_of((expected * 255).round().astype(np.uint8)[:, None]))
        assert said in images.summary
    with pytest.raises(ValueError, match=r"data\.source\.values=\["):
        loaded(tmp_path / "odd", (1, 8, 8))
    images = loaded(tmp_path / "odd", (1, 8, 8), values=(-3.0, 4.0))
    assert np.abs(every(images)[0].astype(int) - every_of((real * 255).round().astype(np.uint8)[:, None])).max() <= 1


def test_what_is_no_image_is_named(tmp_path, subtests):
    np.savez(tmp_path / "none.npz", z=np.zeros(3))
    np.save(tmp_path / "objects.npy", np.array([{}, {}], object), allow_pickle=True)
    (tmp_path / "broken.npz").write_bytes(b"PK" + bytes(40))
    (tmp_path / "broken.jsonl").write_text('{"file_name": "a.png", "label": 1}\n{')
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "latin.csv").write_bytes("file,label\na.png,café".encode("latin-1"))
    (tmp_path / "half.csv").write_text("file,label\na.png,x\nb.png,")
    (tmp_path / "text.txt").write_text("")
    np.savez(tmp_path / "labels.npz", x=np.zeros((4, 8, 8), np.uint8), y=np.zeros(3, int))
    np.savez(tmp_path / "nan.npz", x=np.full((4, 8, 8), np.nan))
    for name, said in {
        "none.npz": "no array of images: name it x",
        "objects.npy": "cannot be read as an array",
        "broken.npz": "cannot be read as an array",
        "broken.jsonl": "line 2 is no JSON",
        "empty.csv": "lists no files",
        "latin.csv": "latin.csv is no text in UTF-8: save it as UTF-8",
        "half.csv": "1 of 2 files have no label, as b.png",
        "text.txt": "is a file: name the folder",
        "labels.npz": "4 images and 3 labels",
        "nan.npz": "values that are not finite",
    }.items():
        with subtests.test(name), pytest.raises(ValueError, match=said):
            loaded(tmp_path / name, (1, 8, 8))
