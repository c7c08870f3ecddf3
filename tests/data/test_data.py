"""Laws of the data as values, and of the sources with published bytes."""

import functools
import gzip
import hashlib
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from difflab.data import fashion16, fashion_mnist
from difflab.data.fashion16 import Fashion16
from difflab.data.fashion_mnist import FashionMNIST
from difflab.data.images import Split
from difflab.laws import Worst
from difflab.laws import data as laws
from helpers.conf import built, options
from helpers.laws import assert_law

needs_debian = pytest.mark.skipif(not fashion_mnist.DEBIAN.is_dir(), reason="needs Debian's dataset-fashion-mnist")


# Values


def test_the_sum_is_of_all_that_is_trained_on():
    x, eps, y = torch.randn(3, 2), torch.randn(3, 2), torch.zeros(3, dtype=torch.int64)
    assert Split(x, y).sha256 == hashlib.sha256(x.numpy().tobytes()).hexdigest()
    assert Split(x, y, eps).sha256 == hashlib.sha256(x.numpy().tobytes() + eps.numpy().tobytes()).hexdigest()
    assert Split(x.T.contiguous().T, y).sha256 == Split(x, y).sha256
    assert Split(x, y).labelled_sha256 != Split(x, y + 1).labelled_sha256


def test_splits_refuse_other_types():
    x, y = torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64)
    for eps in (x, x.float()[:2], x.double()):
        with pytest.raises(ValueError, match="float32 of one shape"):
            Split(x.float(), y, eps)
    with pytest.raises(ValueError, match="labels must be"):
        Split(x, y[:2])


# Sources


@functools.cache
def sets():
    """Every option of conf/data that is there without a download, built once: the laws change none."""
    absent = {"folder", "captioned_folder"} | (set() if fashion_mnist.DEBIAN.is_dir() else {"fashion_mnist"})
    if find_spec("sklearn") is None:
        absent.add("digits")
    return {name: built("data", name) for name in options("data") if name not in absent}


def test_every_data_set(subtests):
    for law in laws.LAWS:
        with subtests.test(law.__name__):
            assert_law(law(data) for data in sets().values())


def test_conf_states_sigma_data_to_three_digits():
    assert_law(
        Worst(name, abs(data.samples()[0].std().item() - data.sigma_data), 1e-3) for name, data in sets().items()
    )


def test_every_class_is_held_out_too():
    for data in (each for each in sets().values() if each.images.lookup is None):
        assert data.images.test.y.unique().tolist() == list(range(max(1, data.classes))), str(data.source)


def test_fashion16_has_the_published_pixels():
    images = Fashion16().load()
    assert images.train.sha256 == "52d6f2bc0bba2cdb644c9e61c061bed34b6a7599bcecaf70ebd00a7bf0ad1c65"
    assert images.train.y.bincount().tolist() == [1200] * 10
    assert images.test.y.bincount().tolist() == [200] * 10


def test_damaged_fashion16_names_both_sums(tmp_path):
    images = Fashion16().load()
    x = images.train.x[:, 0].clone()
    x[0, 0, 0] ^= 1
    arrays = {"x": x, "y": images.train.y, "test_x": images.test.x[:, 0], "test_y": images.test.y}
    np.savez(tmp_path / "damaged.npz", **arrays)
    with (
        (tmp_path / "damaged.npz").open("rb") as file,
        pytest.raises(ValueError, match=f"{hashlib.sha256(x.numpy().data).hexdigest()}, not {fashion16.SHA256}"),
    ):
        fashion16.read(file)
    cut = tmp_path / "cut.npz"
    cut.write_bytes((tmp_path / "damaged.npz").read_bytes()[:5000])
    with cut.open("rb") as file, pytest.raises(ValueError, match="damaged"):
        fashion16.read(file)


@needs_debian
def test_fashion_mnist_averaged_is_fashion16():
    full, small = FashionMNIST().load(), Fashion16().load()
    for whole, part, each in ((full.train, small.train, 1200), (full.test, small.test, 200)):
        first = torch.cat([(whole.y == c).nonzero()[:each, 0] for c in range(10)]).sort().values
        mean = whole.x[first].float().unflatten(2, (16, 2)).unflatten(4, (16, 2)).mean((3, 5))
        assert torch.equal((mean + 0.5).floor().byte(), part.x)
        assert torch.equal(whole.y[first], part.y)


def idx(array):
    dims = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return bytes([0, 0, 8, array.ndim]) + dims + array.tobytes()


def test_idx_files_are_parsed_plain_and_packed(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (5, 3, 2), np.uint8)
    plain, packed = tmp_path / "a", tmp_path / "a.gz"
    plain.write_bytes(idx(array))
    packed.write_bytes(gzip.compress(idx(array)))
    assert np.array_equal(fashion_mnist.read_idx(plain), array)
    assert np.array_equal(fashion_mnist.read_idx(packed), array)
    for damaged in (idx(array)[:-1], idx(array)[:6], b"", b"\0\0\x0d" + idx(array)[3:]):
        plain.write_bytes(damaged)
        with pytest.raises(ValueError, match="not a whole idx file"):
            fashion_mnist.read_idx(plain)
    packed.write_bytes(packed.read_bytes()[:-9])
    with pytest.raises(ValueError, match="damaged"):
        fashion_mnist.read_idx(packed)


def test_fashion_mnist_elsewhere(tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"(?s){tmp_path}.*apt-get.*difflab\[hub\].*data\.source\.root"):
        fashion_mnist.first([fashion_mnist.Local(tmp_path)])
    for name in fashion_mnist.SHA256:
        (tmp_path / name).write_bytes(idx(np.zeros(3, np.uint8)))
    with pytest.raises(ValueError, match="train-images-idx3-ubyte has sha256"):
        FashionMNIST(str(tmp_path)).load()
