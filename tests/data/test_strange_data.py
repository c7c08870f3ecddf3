"""Data that somebody sent: no pipe is waited for, no size is believed before it is checked, no NaN is trained on."""

import gzip
import io
import os
import struct
import tracemalloc
import zipfile
import zlib
from contextlib import suppress
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file

from difflab.data.array_file import images_of
from difflab.data.fashion_mnist import read_idx
from difflab.data.folder import Folder
from difflab.data.pairs import load_pairs


def images(folder, n=12):
    for k in range(n):
        Image.new("L", (4, 4), 20 * k).save(folder / f"{k}.png")
    return Folder(str(folder), (1, 4, 4), held_out=0.3)


def png(width, height):
    """A PNG that claims a size, and has no pixels."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0")) + chunk(b"IEND", b"")


def test_what_is_no_image_is_named(tmp_path):
    source = images(tmp_path)
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "vast.png").write_bytes(png(2**31 - 1, 2**31 - 1))
    (tmp_path / "cut.png").write_bytes(png(64, 64))
    with pytest.raises(ValueError, match="4 of 16 images cannot be read") as error:
        source.load()
    for name in ("pipe", "zero", "vast", "cut"):
        assert f"{name}.png: " in str(error.value)


def header(shape):
    """The start of a .npy file that claims a shape, without its numbers."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return file.getvalue()


def test_arrays_that_claim_more_than_there_is_are_refused_at_little_memory(tmp_path):
    vast = header((10**9, 1024, 1024))
    (tmp_path / "claims.npy").write_bytes(vast + bytes(100))
    (tmp_path / "version.npy").write_bytes(b"\x93NUMPY\x09\x00" + bytes(100))
    for name, content in {"claims.npz": vast, "bomb.npz": header((4, 8192, 8192)) + bytes(2**28)}.items():
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("x.npy", content)
    os.mkfifo(tmp_path / "pipe.npy")
    (tmp_path / "zero.npz").symlink_to("/dev/zero")
    tracemalloc.start()
    for name, said in {
        "claims.npy": "its header claims uint8",
        "version.npy": "its header is of a version|not supported|cannot be read",
        "claims.npz": "its header claims uint8",
        "pipe.npy": "it is no regular file",
        "zero.npz": "it is no regular file",
    }.items():
        with pytest.raises(ValueError, match=said):
            images_of(tmp_path / name)
    with patch("difflab.data.array_file.memory", lambda: 2**27), pytest.raises(ValueError, match="this machine has"):
        images_of(tmp_path / "bomb.npz")
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_shapes_that_no_model_sees_are_refused():
    for shape in ((3, 0, 0), (3, 100_000, 100_000), (3, -1, 4)):
        with pytest.raises(ValueError, match=r"height and width must lie in 1..8192|greater|positive"):
            Folder("anywhere", shape)


def test_an_archive_that_unpacks_to_more_than_it_may_is_refused_at_little_memory(tmp_path):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    with gzip.open(path, "wb", 1) as file:
        for _ in range(300):
            file.write(bytes(2**20))
    tracemalloc.start()
    with pytest.raises(ValueError, match="holds more than the"):
        read_idx(path)
    assert tracemalloc.get_traced_memory()[1] < 2**28
    tracemalloc.stop()


def test_pairs_are_finite_and_many(tmp_path):
    sound = {"x": torch.ones(20, 2), "eps": torch.ones(20, 2), "y": torch.zeros(20, dtype=torch.int64)}
    path = tmp_path / "pairs.safetensors"
    for lie, reason in [
        ({"x": sound["x"] * torch.nan}, "not finite"),
        ({"eps": sound["x"] / 0}, "not finite"),
        ({"x": torch.tensor(1.0)}, "single numbers"),
        ({"y": sound["y"] - 1}, "labels -1"),
        ({"y": sound["y"].float()}, "int64"),
    ]:
        save_file({**sound, **lie}, path)
        with pytest.raises(ValueError, match=reason):
            load_pairs(path, (2,), 0)


@settings(max_examples=30)
@given(st.binary(max_size=200), st.sampled_from(["idx", "idx.gz", "png", "safetensors"]))
def test_bytes_are_read_or_refused(tmp_path_factory, content, kind):
    """Whatever they are, after the sign of their kind."""
    signs = {"idx": b"\0\0\x08\x01", "idx.gz": b"\x1f\x8b\x08\0", "png": png(4, 4)[:33]}
    path = tmp_path_factory.mktemp("fuzz") / f"0.{kind}"
    path.write_bytes(signs.get(kind, b"\x10" + bytes(7)) + content)
    with suppress(ValueError, OSError):
        match kind:
            case "png":
                Folder(str(path.parent), (1, 4, 4)).load()
            case "safetensors":
                load_pairs(path, (2,), 0)
            case _:
                read_idx(path)
