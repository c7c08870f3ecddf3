"""The one DataModule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import ClassVar

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from difflab.data.blocks import Blocks, StepLoader
from difflab.data.codec import Codec, codec_of_shape
from difflab.data.images import Batch, Images, Source, Split
from difflab.data.latents import FrozenStage, Latents
from difflab.data.order import HELD_OUT, Block, Divided, Order, Shard, share
from difflab.data.pairs import load_pairs
from difflab.data.ranges import ClassCount, Count, Held, Positive, Seed, Workers
from difflab.data.words import Captions, Vocabulary, Words


def keeps_numbers(codec: Codec, shape: Sequence[int]) -> bool:
    """Whether models see the very numbers that are stored."""
    stored = torch.stack([torch.zeros(*shape), torch.ones(*shape)])
    return torch.equal(codec.encode(stored), stored)


class DataModule(LightningDataModule):
    """Serve a source as batches: x float (B, *shape) as the codec encodes it, y int64 (B,).

    - source: what to load; `shape` (C, H, W), (D,), ... and `classes` (0: unlabelled) declare what it holds: checked.
    - sigma_data: standard deviation of the training samples as models see them, for models that scale by it.
    - max_distance: the largest distance between two training samples, the sigma_max of geometric and VE schedules.
    - batch_size: the global batch, of which each process takes its share.
    - seed: of the order and of the flips; flip: mirror half of the training images.
    - workers: loading processes; 0 is the fastest, since the images are in memory.
    - pairs: a file of noise and samples made of it (see `load_pairs`), to train and validate on in place of the
      source, which is still what samples are measured against; batches then have eps as well.
    - codec: how samples are stored, seen by models, shown and measured; None: see `codec_of_shape`.
    - selection: held-out samples that are set aside, to choose settings by; they are no reference of an evaluation.
    - stage: a frozen first stage, whose latents models see; x is then `(B, *latent_shape)`, a new draw in each step.
    - words: the tokeniser of captions, for a source that has them.

    Training is one long Lightning epoch of `Trainer(max_steps=...)` that starts at the trainer's global step, so that a
    resumed run goes on with the next batch. The shards of several processes are made here. Raises ValueError for a
    declaration or a codec that the samples contradict, a batch_size that is larger than the set or no multiple of the
    processes, mirrored samples that have no left and right, a known law under a codec that changes the numbers, and a
    trainer without max_steps.
    """

    # What a run's identity leaves out: samples enter it by their content, and the others change no weights.
    outside_identity: ClassVar[tuple[str, ...]] = ("source", "pairs", "workers", "max_distance", "selection", "stage")
    paths: ClassVar[tuple[str, ...]] = ("pairs",)
    as_before: ClassVar[Mapping[str, object]] = {"words": None}

    def __init__(
        self,
        source: Source,
        shape: Sequence[Count],
        classes: ClassCount,
        sigma_data: Positive,
        batch_size: Count,
        seed: Seed = 0,
        flip: bool = False,
        workers: Workers = 0,
        pairs: str | None = None,
        max_distance: Positive = 50.0,
        codec: Codec | None = None,
        selection: Held = 0,
        stage: FrozenStage | None = None,
        words: Words | None = None,
    ) -> None:
        super().__init__()
        self.selection, self.words = selection, words
        self.codec = codec or codec_of_shape(shape)
        if flip and not self.codec.mirrors:
            raise ValueError(f"flip=true mirrors images: data of shape={list(shape)} have no left and right")
        if hasattr(source, "log_prob") and not keeps_numbers(self.codec, shape):
            raise ValueError(
                f"the law of {type(source).__name__} is that of the numbers that models see, and {self.codec} changes "
                f"them: choose Points, or leave the range of Arrays at -1..1"
            )
        self.source, self.shape, self.classes, self.sigma_data = source, tuple(shape), classes, sigma_data
        self.batch_size, self.seed, self.flip = batch_size, seed, flip
        self.workers, self.pairs, self.max_distance = workers, pairs, max_distance
        if stage:
            self.codec = Latents(self.codec, stage, lambda: self.images.train, flip)

    @cached_property
    def images(self) -> Images:
        """What the source holds, loaded and checked on first use."""
        images = self.source.load()
        for name, split in (("training", images.train), ("held-out", images.test)):
            self.codec.check(split.x)
            if split.x.is_floating_point() and (lost := int((~split.x.flatten(1).isfinite().all(1)).sum())):
                raise ValueError(
                    f"{lost} of the {len(split)} {name} samples of {type(self.source).__name__} "
                    f"{'is' if lost == 1 else 'are'} not finite: leave them out"
                )
        shape, classes = images.train.shape, images.classes
        if (shape, classes) != (self.shape, self.classes):
            raise ValueError(
                f"shape={list(self.shape)} and classes={self.classes} are declared, but {type(self.source).__name__} "
                f"holds shape={list(shape)} and classes={classes}"
            )
        return images.set_aside(self.selection)

    @cached_property
    def vocabulary(self) -> Vocabulary | None:
        """The words of the training captions; None of data without captions, or without a tokeniser."""
        captions = self.images.lookup
        if not isinstance(captions, Captions) or self.words is None:
            return None
        first = sorted({*self.images.train.y.tolist()})
        return self.words([captions.texts[k + form] for k in first for form in range(captions.forms)])

    @property
    def kind_names(self) -> Sequence[str]:
        """The kinds of images that class prompts name, as styles; none of data without captions."""
        lookup = self.images.lookup
        return lookup.prompts if isinstance(lookup, Captions) and lookup.kinds is not None else ()

    @property
    def kinds(self) -> int:
        """How many classes a classifier distinguishes: those of the labels, or the kinds that captions ask for."""
        return len(self.kind_names) if self.images.lookup is not None else self.classes

    def kind(self, label: Tensor) -> Tensor:
        """The class that a classifier is to tell of samples of a label, int64 (n,)."""
        lookup = self.images.lookup
        known = lookup.kinds if isinstance(lookup, Captions) else None
        return label if known is None else known[label]

    @property
    def class_names(self) -> Sequence[str]:
        """The names of the classes; none where labels look up more than a class."""
        return () if self.images.lookup is not None else self.images.names

    @cached_property
    def rows(self) -> Tensor | None:
        """What labels look up, `(labels, ...)`: ids of captions, numbers or images; None of classes."""
        lookup = self.images.lookup
        if isinstance(lookup, Captions):
            return None if self.vocabulary is None else self.vocabulary(lookup.texts)
        return lookup

    @cached_property
    def _splits(self) -> tuple[Split, Split]:
        if self.pairs is None:
            return self.images.train, self.images.test
        return load_pairs(self.pairs, self.shape, self.classes)

    @property
    def training(self) -> Split:
        """What training batches come from: the source's training split, or all pairs but the last tenth."""
        return self._splits[0]

    @property
    def held_out(self) -> Split:
        """What validation batches come from: the source's held-out split, or the last tenth of the pairs."""
        return self._splits[1]

    @cached_property
    def measured(self) -> Images:
        """The source's samples as extractors and the search for copies see them."""
        return replace(self.images, train=self._seen(self.images.train), test=self._seen(self.images.test))

    def _seen(self, split: Split) -> Split:
        x = self.codec.measure(split.x)
        return split if x is split.x else Split(x, split.y)

    def encoded(self, split: Split, rows: slice | Tensor = slice(None)) -> Tensor:
        """Samples of a split as models see them, float (n, *shape), where those of pairs are already.

        Of latents a draw of each, the same every time.
        """
        if split.eps is not None:
            return split.x[rows]
        if isinstance(self.codec, Latents):
            return self.codec.whitening(self.codec.drawn(split, rows))
        return self.codec.encode(split.x[rows])

    def like(self, split: Split, rows: slice) -> Tensor:
        """Samples of the shape and type that models see, at no cost: of latents zeros."""
        if isinstance(self.codec, Latents) and split.eps is None:
            return torch.zeros(len(split.y[rows]), *self.codec.stage.network.latent_shape)
        return self.encoded(split, rows)

    def samples(self) -> tuple[Tensor, Tensor]:
        """All training samples as models see them, float (N, *shape), and their labels (N,)."""
        return self.encoded(self.training), self.training.y

    @property
    def order(self) -> Order:
        """The order of the training samples."""
        return Order(len(self.training), self.batch_size, self.seed, self.flip, self.images.forms)

    @property
    def global_batch_size(self) -> int:
        """The samples of a step over all processes, under the name that the samplers of its loaders have for it."""
        return self.batch_size

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches from the trainer's global step to its last; without a trainer, one epoch."""
        order, trainer = self.order, self.trainer
        if trainer is None:
            shard = Shard(order, 0, order.steps_per_epoch)
        elif trainer.max_steps < 0:
            raise ValueError("training is counted in steps: give the Trainer max_steps")
        else:
            shard = Shard(order, trainer.global_step, trainer.max_steps, trainer.global_rank, trainer.world_size)
        return StepLoader(
            self.blocks(self.training, self.flip), sampler=shard, batch_size=None, num_workers=self.workers
        )

    def val_dataloader(self) -> DataLoader[Batch]:
        """The held-out samples in order, each once over all processes, which slice the batches as in training."""
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        n, size = len(self.held_out), share(self.batch_size, world)
        whole = Block.plain(n)
        batches = [whole.cut(at, at + self.batch_size).numbered(HELD_OUT, at) for at in range(0, n, self.batch_size)]
        parts = [batch.cut(rank * size, (rank + 1) * size) for batch in batches]
        mine = Divided([part for part in parts if len(part.images)], self.batch_size)
        return DataLoader(self.blocks(self.held_out), sampler=mine, batch_size=None, num_workers=self.workers)

    def test_dataloader(self) -> DataLoader[Batch]:
        """The same."""
        return self.val_dataloader()

    def predict_dataloader(self) -> DataLoader[Batch]:
        """The same, for classifiers."""
        return self.val_dataloader()

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Encode on the device; pairs and latents are as models see them already."""
        done = batch.eps is not None or isinstance(self.codec, Latents)
        return batch if done else batch._replace(x=self.codec.encode(batch.x))

    def blocks(self, split: Split, flip: bool = False) -> Dataset[Batch]:
        """A split indexed by whole blocks."""
        if isinstance(self.codec, Latents) and split.eps is None:
            return self.codec.blocks(split, self.seed, flip)
        return Blocks(split)
