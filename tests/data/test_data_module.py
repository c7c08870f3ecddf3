"""Laws of the order and of the DataModule: a function of (seed, step) alone, and exact resume."""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from difflab.data.codec import Pixels
from difflab.data.images import Images, Split
from difflab.data.module import DataModule
from difflab.data.order import Order, Shard

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


def test_slices_of_the_ranks_make_up_the_batch(subtests):
    for world in [2, 4]:
        with subtests.test(f"{world} processes"):
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
    for batch, block in zip(data.train_dataloader(), blocks, strict=True):
        x, y, eps = batch
        assert x.dtype == torch.uint8
        assert x.shape == (8, 1, 1, 2)
        assert y.tolist() == block.images.tolist()
        assert (x[:, 0, 0, 0] == 255).tolist() == block.mirrored.tolist()
        assert eps is None
        assert data.on_after_batch_transfer(batch, 0).x.equal(Pixels().encode(x))
    assert [batch.y.tolist() for batch in data.val_dataloader()] == [list(range(8)), [8, 9]]
    assert not data.images.train.x[:, 0, 0, 0].eq(255).any()  # flips left the set itself alone


def test_what_is_trained_on_without_pairs_is_the_source():
    data = counting()
    assert data.training is data.images.train
    assert data.held_out is data.images.test
    x0, y = data.samples()
    assert torch.equal(x0, Pixels().encode(data.images.train.x))
    assert torch.equal(y, data.images.train.y)


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
        x, y, _ = batch
        assert Pixels().decode(x).amin((1, 2, 3)).tolist() == y.tolist()
        self.trained.append(y.tolist())
        return self.w

    def on_train_batch_end(self, *_):
        if self.global_step == self.last:
            raise KilledError

    def validation_step(self, batch, _):
        self.validated.append((self.global_step, batch.y.tolist()))


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
