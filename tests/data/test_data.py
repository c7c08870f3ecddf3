"""Laws of the data as values, and of the sources with published bytes."""

import gzip
import hashlib

import numpy as np
import pytest
import torch

from difflab.data import fashion16, fashion_mnist
from difflab.data.fashion16 import Fashion16
from difflab.data.fashion_mnist import FashionMNIST
from difflab.data.images import Split
from helpers.conf import built, options

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


def test_conf_states_the_facts(subtests):
    for name in sorted({*options("data")} - {"folder"}):
        with subtests.test(name):
            if name == "digits":
                pytest.importorskip("sklearn")
            if name == "fashion_mnist" and not fashion_mnist.DEBIAN.is_dir():
                pytest.skip("needs Debian's dataset-fashion-mnist")
            data = built("data", name)
            for split in (data.images.train, data.images.test):
                assert split.y.unique().tolist() == list(range(max(1, data.classes)))
                assert split.shape == data.shape
            assert data.samples()[0].std().item() == pytest.approx(data.sigma_data, abs=1e-3)


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
