"""Laws of training on pairs of noise and generated samples."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from safetensors.torch import save_file

from difflab.data.images import Images, Split
from difflab.data.module import Blocks, DataModule
from difflab.data.order import Shard
from difflab.data.pairs import save_pairs

N = 45  # of which 4 are held out


@dataclass(frozen=True)
class Black:
    """Real images that no batch may hold."""

    def load(self):
        x, y = torch.zeros(30, 1, 1, 2, dtype=torch.uint8), torch.arange(30) % 3
        return Images(Split(x, y), Split(x, y), ("a", "b", "c"))


def tensors():
    """Pair i is x = (1 + i, -1 - i), eps = x + (100, 200): each tells which it is, and whether it is mirrored."""
    i = 1 + torch.arange(N, dtype=torch.float32)
    x = torch.stack([i, -i], -1)[:, None, None]
    return {"x": x, "eps": x + torch.tensor([100.0, 200.0]), "y": torch.arange(N) % 4}


@pytest.fixture
def file(tmp_path):
    save_pairs(tmp_path / "pairs.safetensors", **tensors())
    return str(tmp_path / "pairs.safetensors")


def module(file, **options):
    return DataModule(Black(), [1, 1, 2], classes=3, sigma_data=1.0, batch_size=8, pairs=file, **options)


def matches(batch):
    """Whether noise, sample and label belong together."""
    first, second = batch.x[:, 0, 0].T
    mirrored = first < 0
    i = torch.where(mirrored, second, first)
    shift = torch.where(mirrored[:, None], torch.tensor([200.0, 100.0]), torch.tensor([100.0, 200.0]))
    together = torch.equal(batch.eps[:, 0, 0], batch.x[:, 0, 0] + shift)
    return together and torch.equal(first, -second) and torch.equal((i.long() - 1) % 4, batch.y)


def test_the_last_tenth_is_held_out_and_real_images_stay_the_reference(file):
    data, all_ = module(file), tensors()
    assert torch.equal(torch.cat([data.training.x, data.held_out.x]), all_["x"])
    assert torch.equal(torch.cat([data.training.eps, data.held_out.eps]), all_["eps"])
    assert len(data.held_out) == 4
    assert data.order.n == 41
    assert torch.equal(data.samples()[0], all_["x"][:41])
    assert not data.images.train.x.any()
    assert data.training.sha256 not in (data.images.train.sha256, module(None).training.sha256)
    ends = [batch.eps for batch in data.val_dataloader()]
    assert torch.equal(torch.cat(ends), all_["eps"][41:])


class Recorder(LightningModule):
    def __init__(self):
        super().__init__()
        self.w, self.seen = torch.nn.Parameter(torch.zeros(())), {"train": [], "val": []}

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

    def training_step(self, batch, _):
        assert matches(batch)
        self.seen["train"].append(batch.x)
        return self.w

    def validation_step(self, batch, _):
        assert matches(batch)
        self.seen["val"].append(batch.x)


@pytest.mark.parametrize("workers", [0, 2])
def test_noise_stays_with_its_sample_through_flips_workers_and_transfers(file, workers):
    recorder, data = Recorder(), module(file, flip=True, workers=workers)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(
        max_steps=10, use_distributed_sampler=False, accelerator="cpu", enable_checkpointing=False, **quiet
    )
    trainer.fit(recorder, data)
    blocks = list(data.order.blocks(0, 10))
    for x, block in zip(recorder.seen["train"], blocks, strict=True):
        assert np.array_equal(x.abs()[:, 0, 0, 0], 1 + block.images)
        assert np.array_equal(x[:, 0, 0, 0] < 0, block.mirrored)
    assert any(block.mirrored.any() for block in blocks)
    assert recorder.seen["val"]


def test_slices_of_the_ranks_make_up_the_batch_of_pairs(file):
    data = module(file, flip=True)
    blocks = Blocks(data.training)
    ranks = [Shard(data.order, 2, 9, rank, 2) for rank in range(2)]
    for whole, *parts in zip(Shard(data.order, 2, 9), *ranks, strict=True):
        for key, value in blocks[whole]._asdict().items():
            assert torch.equal(value, torch.cat([getattr(blocks[part], key) for part in parts]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eps": None}, "holds x, y; pairs are eps, x, y"),
        ({"z": torch.zeros(N)}, "holds eps, x, y, z"),
        ({"x": torch.zeros(N, 1, 1, 3)}, "x and eps must both be float32 of one shape"),
        ({"x": torch.zeros(N, 1, 1, 2).half()}, "x and eps must both be float32"),
        ({"x": torch.zeros(N, 2), "eps": torch.zeros(N, 2)}, r"pairs of shape \[2\], the data have \[1, 1, 2\]"),
        ({"y": torch.zeros(N)}, r"labels must be int64"),
        ({"y": torch.full((N,), 4)}, r"labels 4\.\.4, the data have 0\.\.3"),
        ({key: value[:9] for key, value in tensors().items()}, "9 pairs: at least 10"),
    ],
)
def test_files_of_something_else_are_refused(tmp_path, change, message):
    changed = {key: value for key, value in {**tensors(), **change}.items() if value is not None}
    save_file(changed, tmp_path / "pairs.safetensors")
    with pytest.raises(ValueError, match=message):
        _ = module(str(tmp_path / "pairs.safetensors")).training


def test_missing_and_damaged_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*nowhere: data\.pairs must name"):
        _ = module(str(tmp_path / "nowhere")).training
    (tmp_path / "damaged").write_bytes(b"no tensors")
    with pytest.raises(ValueError, match="damaged"):
        _ = module(str(tmp_path / "damaged")).held_out
