"""Laws of the data: checked bytes, an order that depends on (seed, step) alone, exact resume, any folder of images."""

import gzip
import hashlib
import importlib
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import OmegaConf
from PIL import Image

from difflab.data import fashion16, fashion_mnist
from difflab.data.fashion16 import Fashion16
from difflab.data.fashion_mnist import FashionMNIST
from difflab.data.folder import Folder
from difflab.data.images import Images, Split, to_float, to_uint8
from difflab.data.layout import count_classes
from difflab.data.module import DataModule
from difflab.data.order import Order, Shard

CONF = Path(__file__).parents[1] / "conf" / "data"
needs_debian = pytest.mark.skipif(not fashion_mnist.DEBIAN.is_dir(), reason="needs Debian's dataset-fashion-mnist")


# Values


def test_bytes_to_floats_and_back_is_the_identity():
    x = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(to_float(x)), x)
    assert (to_float(x).min(), to_float(x).max()) == (-1, 1)
    assert to_uint8(torch.tensor([-9.0, 9.0])).tolist() == [0, 255]


def test_splits_refuse_other_types():
    x, y = torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"uint8 \(N, C, H, W\)"):
        Split(x.float(), y)
    with pytest.raises(ValueError, match="labels must be"):
        Split(x, y[:2])


# Sources


@pytest.mark.parametrize("name", ["fashion16", "digits", pytest.param("fashion_mnist", marks=needs_debian)])
def test_conf_states_the_facts(name):
    conf = OmegaConf.load(CONF / f"{name}.yaml")
    module, _, source = conf.source["_target_"].rpartition(".")
    if name == "digits":
        pytest.importorskip("sklearn")
    data = DataModule(
        getattr(importlib.import_module(module), source)(), conf.shape, conf.classes, conf.sigma_data, batch_size=4
    )
    for split in (data.images.train, data.images.test):
        assert split.y.unique().tolist() == list(range(conf.classes))
    assert to_float(data.images.train.x).std().item() == pytest.approx(conf.sigma_data, abs=1e-3)


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


# Order


def test_order_is_keyed_by_seed_and_epoch():
    order = Order(n=50, batch_size=8, seed=3)
    for epoch in range(3):
        assert sorted(order.epoch(epoch).images) == list(range(50))
    assert all((a.images != b.images).any() for a, b in pairwise(order.epoch(e) for e in range(4)))
    assert (order.epoch(0).images != replace(order, seed=4).epoch(0).images).any()
    run = [block.images.tolist() for block in order.blocks(0, 20)]
    assert [i for block in run[6:12] for i in block] == order.epoch(1).images[:48].tolist()
    for start in range(20):
        assert [block.images.tolist() for block in order.blocks(start, 20)] == run[start:]


def test_flips_are_keyed_by_seed_epoch_and_image():
    def flips(order, epoch):
        block = order.epoch(epoch)
        return block.mirrored[block.images.argsort()]

    order = Order(n=1000, batch_size=8, seed=3, flip=True)
    assert np.array_equal(flips(order, 1), flips(replace(order, batch_size=100), 1))
    assert (flips(order, 0) != flips(order, 1)).any()
    assert abs(flips(order, 0).mean() - 0.5) < 5 * 0.5 / 1000**0.5
    assert not flips(replace(order, flip=False), 0).any()


@pytest.mark.parametrize("world", [2, 4])
def test_slices_of_the_ranks_make_up_the_batch(world):
    order = Order(n=50, batch_size=8, flip=True)
    ranks = [Shard(order, 3, 15, rank, world) for rank in range(world)]
    for whole, *parts in zip(Shard(order, 3, 15), *ranks, strict=True):
        assert np.array_equal(whole.images, np.concatenate([part.images for part in parts]))
        assert np.array_equal(whole.mirrored, np.concatenate([part.mirrored for part in parts]))


def test_impossible_batches_are_refused():
    with pytest.raises(ValueError, match=r"batch_size=51 must lie in 1\.\.50"):
        Order(n=50, batch_size=51)
    with pytest.raises(ValueError, match=r"batch_size=8 .* multiple of the 3 processes"):
        Shard(Order(n=50, batch_size=8), 0, 1, rank=0, world=3)


# DataModule


@dataclass(frozen=True)
class Counting:
    """Image i is the row (i, 255): batches tell which images they hold, and whether these are mirrored."""

    n: int = 44
    held_out: int = 10

    def load(self):
        rows = torch.stack([torch.arange(self.n), torch.full((self.n,), 255)], -1).byte()
        train, test = (Split(x[:, None, None], x[:, 0].long()) for x in (rows, rows[: self.held_out]))
        return Images(train, test)


def counting(**options):
    return DataModule(Counting(), shape=[1, 1, 2], classes=0, sigma_data=1.0, batch_size=8, **options)


def test_wrong_declarations_name_the_right_values():
    data = DataModule(Counting(), shape=[3, 4, 4], classes=7, sigma_data=1.0, batch_size=8)
    with pytest.raises(ValueError, match=r"\[3, 4, 4\] and classes=7 .* shape=\[1, 1, 2\] and classes=0"):
        _ = data.images


def test_batches_without_a_trainer():
    data = counting(flip=True)
    blocks = list(data.order.blocks(0, 5))
    for (x, y), block in zip(data.train_dataloader(), blocks, strict=True):
        assert x.dtype == torch.uint8
        assert x.shape == (8, 1, 1, 2)
        assert y.tolist() == block.images.tolist()
        assert (x[:, 0, 0, 0] == 255).tolist() == block.mirrored.tolist()
        assert data.on_after_batch_transfer((x, y), 0)[0].equal(to_float(x))
    assert [y.tolist() for _, y in data.val_dataloader()] == [list(range(8)), [8, 9]]
    assert not data.images.train.x[:, 0, 0, 0].eq(255).any()  # flips left the set itself alone


class KilledError(Exception):
    pass


class Recorder(LightningModule):
    """A one-weight model that notes the images it is shown, and dies after `last` steps."""

    def __init__(self, last=-1):
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(()))
        self.last, self.trained, self.validated = last, [], []

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

    def training_step(self, batch, _):
        x, y = batch
        assert to_uint8(x).amin((1, 2, 3)).tolist() == y.tolist()
        self.trained.append(y.tolist())
        return self.w

    def on_train_batch_end(self, *_):
        if self.global_step == self.last:
            raise KilledError

    def validation_step(self, batch, _):
        self.validated.append((self.global_step, batch[1].tolist()))


def fit(folder, module, steps=17, ckpt_path=None, save=3, **options):
    data = counting(flip=True, workers=options.pop("workers", 0))
    trainer = Trainer(
        max_steps=steps,
        callbacks=[ModelCheckpoint(folder, save_last=True, every_n_train_steps=save)],
        **{"max_epochs": -1, "val_check_interval": 4, "check_val_every_n_epoch": None} | options,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, data, ckpt_path=ckpt_path)
    return trainer


@pytest.mark.filterwarnings("error:You.re resuming", "ignore:Checkpoint directory")
@pytest.mark.parametrize(
    ("killed", "options"),
    [
        (7, {}),  # inside an epoch of the images (5 batches), past a checkpoint
        (9, {"workers": 2}),
        (10, {"max_epochs": 1, "save": 5}),  # between two epochs
        (8, {"save": 8}),  # where validation was due
        (16, {"save": 4}),
    ],
)
def test_killed_and_resumed_is_uninterrupted(tmp_path, killed, options):
    whole = Recorder()
    fit(tmp_path / "whole", whole, **options)
    expected = [block.images.tolist() for block in Order(44, 8).blocks(0, 17)]
    assert whole.trained == expected

    dead, alive = Recorder(last=killed), Recorder()
    with pytest.raises(KilledError):
        fit(tmp_path / "dead", dead, **options)
    assert dead.trained == expected[:killed]
    trainer = fit(tmp_path / "dead", alive, ckpt_path=tmp_path / "dead" / "last.ckpt", **options)
    saved = killed - killed % options.get("save", 3)
    assert alive.trained == expected[saved:]
    assert trainer.global_step == 17
    # Lightning takes a validation that was due at the very step of the checkpoint for done.
    assert alive.validated == [(step, images) for step, images in whole.validated if step > saved]


def test_a_budget_in_epochs_is_refused(tmp_path):
    with pytest.raises(ValueError, match="max_steps"):
        fit(tmp_path, Recorder(), steps=-1, max_epochs=2)


# Folder


def save(path, size=(9, 7), mode="RGB", colour=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour or 0).save(path)


@pytest.fixture
def flat(tmp_path):
    for i in range(40):
        save(tmp_path / f"{i:02}.png", (5 + i, 45 - i), ("L", "RGB", "RGBA", "P", "1", "LA", "CMYK")[i % 6])
    return tmp_path


def test_any_images_become_one_shape(flat):
    for shape in ((1, 6, 6), (3, 8, 4), (4, 5, 7)):
        images = Folder(str(flat), shape).load()
        assert images.train.shape == images.test.shape == shape
        assert len(images.train) + len(images.test) == 40
        assert images.names == ()
        assert not images.train.y.any()


def test_short_side_is_resized_and_the_long_one_cropped(tmp_path):
    wide = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 80, 3), np.uint8))
    for i in range(8):
        wide.save(tmp_path / f"{i}.png")
    x = Folder(str(tmp_path), (3, 4, 4), held_out=0.5).load().train.x[0]
    expected = np.asarray(wide.resize((8, 4), Image.Resampling.BICUBIC))[:, 2:6]
    assert np.array_equal(x.permute(1, 2, 0), expected)


def test_transparency_orientation_and_symlinks(tmp_path):
    root = tmp_path / "root"
    for i in range(8):
        save(root / f"clear{i}.png", mode="RGBA", colour=(200, 0, 0, 0))
    assert Folder(str(root), (3, 4, 4), held_out=0.5).load().train.x.eq(255).all()
    assert Folder(str(root), (4, 4, 4), held_out=0.5).load().train.x[:, 3].eq(0).all()

    turned = Image.new("L", (8, 4))
    turned.paste(255, (4, 0, 8, 4))  # the right half is white, and the tag says: turn by 90 degrees clockwise
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "photo.png", exif=exif)
    links = tmp_path / "links"
    links.mkdir()
    for i in range(8):
        (links / f"{i}.png").symlink_to(tmp_path / "photo.png")
    x = Folder(str(links), (1, 8, 4), held_out=0.5).load().train.x
    assert x[:, :, 4:].eq(255).all()
    assert x[:, :, :4].eq(0).all()


def test_subfolders_are_classes(tmp_path):
    for label, name in enumerate(("ant", "bee", "cat")):
        for i in range(20):
            save(
                tmp_path / name / f"{i}.{('jpg', 'PNG', 'webp', 'gif', 'tif', 'bmp')[i % 6]}",
                mode="L",
                colour=100 * label,
            )
    (tmp_path / "empty").mkdir()
    (tmp_path / "ant" / "._0.jpg").write_text("a file manager's leftover")
    images = Folder(str(tmp_path), (1, 4, 4), held_out=0.3).load()
    assert count_classes(tmp_path) == 3
    assert images.names == ("ant", "bee", "cat")
    for split in (images.train, images.test):
        assert ((split.x.float().mean((1, 2, 3)) / 100).round() == split.y).all()


def test_held_out_images_stay_when_files_are_added(tmp_path):
    def held_out():
        x = Folder(str(tmp_path), (1, 2, 2), held_out=0.3).load().test.x
        return set(x[:, 0, 0, 0].tolist())

    for i in range(1, 101):
        save(tmp_path / f"{i}.png", mode="L", colour=i)
    before = held_out()
    for i in range(101, 201):
        save(tmp_path / f"{i}.png", mode="L", colour=i)
    assert before == {i for i in held_out() if i <= 100}
    assert abs(len(held_out()) / 200 - 0.3) < 5 * (0.21 / 200) ** 0.5


def test_bad_folders_are_refused(tmp_path, flat):
    with pytest.raises(ValueError, match=r"C = 1 \(grey\), 3 \(RGB\) or 4"):
        Folder(str(flat), (2, 4, 4))
    with pytest.raises(FileNotFoundError, match=r"no folder .*missing"):
        count_classes(tmp_path / "missing")
    (tmp_path / "none").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no images in .*none"):
        count_classes(tmp_path / "none")
    with pytest.raises(ValueError, match="puts 0 of the 40"):
        Folder(str(flat), (1, 4, 4), held_out=0.0).load()
    for i in range(7):
        (flat / f"broken{i}.png").write_text("no image")
    (flat / "dangling.png").symlink_to(flat / "nothing")
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(flat / "deep.png")
    with pytest.raises(ValueError, match="9 of 49 images cannot be read") as error:
        Folder(str(flat), (1, 4, 4)).load()
    assert str(error.value).count(".png") <= 10  # five lines, each with one path or two
    save(tmp_path / "class" / "0.png")
    with pytest.raises(ValueError, match=r"both directly .* and in subfolders"):
        count_classes(tmp_path)


def test_folder_conf_counts_the_classes(tmp_path):
    for name in ("a", "b"):
        save(tmp_path / name / "0.png")
    OmegaConf.register_new_resolver("classes_in", count_classes, replace=True)
    conf = OmegaConf.create({"data": OmegaConf.load(CONF / "folder.yaml"), "seed": 0, "batch_size": 4})
    conf.data.source.root = str(tmp_path)
    assert conf.data.classes == 2
    assert conf.data.source.shape == conf.data.shape
