"""What all paradigms share: noise that is a function of the step, the held-out loss, the optimiser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from difflab.denoiser.base import AnyDenoiser
from difflab.denoiser.classifier import AnyClassifier
from difflab.denoiser.contrast import Contrast
from difflab.denoiser.first_stage import FirstStage
from difflab.objective.coupling import Coupling, Independent
from difflab.objective.draws import Noised
from difflab.objective.times import Times
from difflab.paradigm.adversary import Adversary
from difflab.paradigm.batch import Batch, gathered, global_batch_size, is_logged, place, unpacked
from difflab.paradigm.divergence import LIMIT, Diverged, diagnosis
from difflab.paradigm.group_sums import GroupSums
from difflab.paradigm.optimisation import Optimisation
from difflab.paradigm.players import Player, bounded, joint_optimizer
from difflab.paradigm.sharding import full
from difflab.process.gaussian import scale
from difflab.process.noise import keyed, seed_dropout
from difflab.process.schedule import Schedule

TRAINING, HELD_OUT, DROPOUT, ACCUMULATED = 0, 1, 2, 3  # streams of noise that never meet


class Paradigm(pl.LightningModule):
    """Train one module on noisy samples at random times; a paradigm says which, and its `loss`.

    A batch is `(x0, label)` or `(x0, label, eps)`, with `eps` the noise of each `x0`. `batch_size` counts the samples
    of a step over all processes, None being that of the data. `seed` is of the training noise, not of the weights.
    """

    learns: ClassVar[str]  # the name of the module that is trained, averaged and exported
    at_times: ClassVar[bool] = True  # whether the loss of a sample is that at its drawn time
    follows_budget: ClassVar[bool] = True  # whether its loss uses `Noised.progress`: stated by each class with a `loss`
    couples: bool = False  # whether noise may depend on the data
    needs_pairs: bool = False  # whether it is trained on a teacher's pairs alone
    follows_teacher: bool = False  # whether it learns from the flow of a teacher
    starts_trained: bool = False  # whether it learns from the weights that it starts from
    rounds: int = 1  # equal parts of the budget, each of which needs a step
    hint: ClassVar[str]  # the command that uses a trained run, with `{run}` for its name and `{nfe}` for 20 or less
    coupling: Coupling = Independent()
    label_dropout: float = 0.0  # the share of training labels replaced by the null label
    adversary: Adversary | None  # a discriminator that is trained against what is learned

    def __init__(self, times: Times, optimisation: Optimisation | None, batch_size: int | None, seed: int) -> None:
        super().__init__()
        self.times, self.optimisation, self.seed = times, optimisation or Optimisation(), seed
        self.given_batch_size = batch_size
        self.skipped = self.in_a_row = 0  # steps whose gradient is not finite; and those since the last one that is
        self.held_out, self.adversary = GroupSums(), None
        self.noted: dict[str, Tensor] = {}  # what a step logs of its loss beside the terms

    def loss(self, noised: Noised) -> dict[str, Tensor]:
        """The terms of the loss, each of shape `(B,)`."""
        raise NotImplementedError

    def held_out_loss(self, noised: Noised) -> dict[str, Tensor]:
        """The same on held-out samples, where a paradigm may note more."""
        return self.loss(noised)

    @property
    def learned(self) -> AnyDenoiser | AnyClassifier | FirstStage | Contrast:
        """The module that is trained."""
        return cast(AnyDenoiser | AnyClassifier | FirstStage | Contrast, getattr(self, self.learns))

    @property
    def players(self) -> Sequence[Player]:
        """What is trained: what is learned and, where there is an adversary, its discriminator."""
        return Player("", self.learned, self.optimisation.clip), *([self.adversary.player] if self.adversary else [])

    @property
    def schedule(self) -> Schedule:
        """The schedule that samples are noised by."""
        return self.learned.schedule

    @property
    def batch_size(self) -> int:
        """The samples of a step over all processes: as given, or else as the trainer's data state it.

        Raises ValueError if neither does.
        """
        if self.given_batch_size is not None:
            return self.given_batch_size
        if self._trainer is None:
            raise ValueError(f"without a trainer {type(self).__name__} needs batch_size, the samples of a step")
        return global_batch_size(self.trainer)

    @property
    def split(self) -> str:
        """What held-out values are logged under: `val`, or `test` in `trainer.test`."""
        return "test" if self.trainer.testing else "val"

    def rows(self, n: int, rank: int | None = None) -> slice:
        """The place of a process's `n` samples in the global batch: process r of w begins at r / w of it."""
        own, world = place()
        start = (own if rank is None else rank) * self.batch_size // world
        return slice(start, start + n)

    def normal(self, like: Tensor, *key: int) -> Tensor:
        """Standard normal noise like `like` by a draw that is a function of the key and the place in the batch."""
        draw = torch.randn(self.batch_size, *like.shape[1:], generator=keyed(self.seed, *key))
        return draw[self.rows(len(like))].to(like)

    def draw_times(self, n: int, g: torch.Generator, progress: float, *key: int) -> Sequence[Tensor]:
        """The times of a batch over all processes, and their weights; of steps also `Noised.s` and `Noised.u`."""
        times = self.times if self.training else self.times.held_out
        return times(self.schedule, n, g, progress)

    def corrupt(
        self, x0: Tensor, label: Tensor, dropout: float, *key: int, eps: Tensor | None = None, progress: float = 1.0
    ) -> Noised:
        """Noise a batch, and drop labels, by draws that are a function of the key and the place in the global batch.

        `eps` is the samples' own noise, where they have one; `progress` is the share of the budget that is over.
        """
        g, n, mine = keyed(self.seed, *key), self.batch_size, self.rows(len(x0))
        t, weight, *step = self.draw_times(n, g, progress, *key)
        dropped = torch.rand(n, generator=g) < dropout
        if eps is None:
            drawn = torch.randn(n, *x0.shape[1:], generator=g)
            if self.training:
                rank, world = place()
                everyone = torch.cat([drawn[self.rows(len(x0), r)] for r in range(world)])
                coupled = self.coupling(
                    lambda: gathered(x0, self.device), everyone, lambda: gathered(label, self.device)
                )
                eps = coupled[rank * len(x0) :][: len(x0)].to(x0)
            else:  # the last held-out batches of the processes may differ in length
                eps = self.coupling(lambda: x0, drawn[mine], lambda: label).to(x0)
        t, weight, *step = (each[mine] for each in (t, weight, *step))
        label = torch.where(dropped[mine].to(label.device), self.learned.classes, label)
        return Noised(t, weight, self.schedule(t)(x0, eps), x0, eps, label, progress, *step)

    def check_training(self) -> None:
        """Raise ValueError for parts that must not be trained together; a model that was can still be used."""

    def setup(self, stage: str) -> None:
        """Raise ValueError as `check_training` does, for a book without entries, and for a training without an end."""
        if stage == "fit":
            self.check_training()
            if empty := [book for book in self.learned.modules() if not getattr(book, "filled", True)]:
                raise ValueError(f"{type(empty[0]).__name__} is empty: fill it with what the labels look up")
            if self.trainer.max_steps < 0 and self.trainer.max_epochs == -1:
                raise ValueError("learning rates follow the whole training: give the Trainer max_steps or max_epochs")

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The mean loss of a batch."""
        step, part = self.global_step, batch_idx % self.trainer.accumulate_grad_batches
        key = (ACCUMULATED, step, part) if part else (TRAINING, step)
        seed_dropout(keyed(self.seed, DROPOUT, *key[1:], self.global_rank).initial_seed(), self.device)
        x0, label, eps = unpacked(batch, self.learned.shape)
        done = step / int(self.trainer.estimated_stepping_batches)
        noised = self.corrupt(x0, label, self.label_dropout, *key, eps=eps, progress=done)
        losses = self.loss(noised)
        self.noised_at, self.loss_at = noised.t, torch.stack(list(losses.values())).detach().sum(0)
        if self.times.observes:
            total = gathered(self.loss_at, self.device).cpu()
            if total.isfinite().all():
                self.times.observe(self.schedule, gathered(noised.t, self.device), total)
        terms = {k: scale(noised.weight, v).mean() for k, v in losses.items()}
        loss = torch.stack(list(terms.values())).sum()
        if is_logged(self.trainer):
            parts = {"loss": loss} | (terms if len(terms) > 1 else {}) | self.noted
            self.log_dict({f"train/{k}": v for k, v in parts.items()}, sync_dist=True)  # the means over all processes
        return loss

    def on_validation_epoch_start(self) -> None:
        """Start the sums of the held-out losses."""
        self.held_out.reset()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add up the held-out losses, each under the same noise every time."""
        x0, label, eps = unpacked(batch, self.learned.shape)
        noised = self.corrupt(x0, label, 0.0, HELD_OUT, batch_idx, eps=eps)
        total = torch.stack([scale(noised.weight, v) for v in self.held_out_loss(noised).values()]).sum(0)
        self.held_out.update(total, batch_idx)

    def on_validation_epoch_end(self) -> None:
        """Log the mean over all held-out images, of which each process may have seen another number.

        And `spread`: the relative standard deviation of the loss of one batch, which is the noise of training.
        """
        total, n = self.held_out.compute().unbind(1)
        self.log(f"{self.split}/loss", (total.sum() / n.sum()).item(), sync_dist=True)
        whole = n == self.batch_size  # a shorter batch has a mean of another variance
        if whole.sum() > 1 and total.any():  # of a loss that is 0 it has no meaning
            means = total[whole] / self.batch_size
            self.log(f"{self.split}/loss_spread", (means.std() / means.mean()).item(), sync_dist=True)

    def on_test_epoch_start(self) -> None:
        """Testing measures what validation does, and perhaps more."""
        self.on_validation_epoch_start()

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Add up the held-out losses."""
        self.validation_step(batch, batch_idx)

    def on_test_epoch_end(self) -> None:
        """Log them."""
        self.on_validation_epoch_end()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer, and its learning rate by step."""
        o, steps = self.optimisation, int(self.trainer.estimated_stepping_batches)
        images = self.batch_size * self.trainer.accumulate_grad_batches  # of a step
        optimizer = joint_optimizer(o, self.players)
        schedule = LambdaLR(optimizer, lambda step: o.factor(step, steps, images))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(self, optimizer: Optimizer, *_: object, **more: object) -> None:
        """Clip each player's gradient and log its norm; if one is not finite, the step changes nothing.

        Raises Diverged after so many such steps in a row: see `LIMIT`.
        """
        norms, broken = bounded(self.players)
        self.in_a_row = 0 if broken is None else self.in_a_row + 1
        if broken is not None:
            self.skipped += 1
            if self.in_a_row == LIMIT:
                raise Diverged(diagnosis(broken, self.schedule, self.noised_at, self.global_step))
            self.zero_grad(set_to_none=True)  # optimizers pass over parameters without a gradient
        if is_logged(self.trainer):
            count = {"train/skipped": float(self.skipped)} if self.skipped else {}
            self.log_dict({**norms, "train/lr": optimizer.param_groups[0]["lr"], **count})

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on counting the steps that were skipped."""
        self.skipped, self.in_a_row = checkpoint.get("skipped", (0, 0))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raise Diverged for weights that are not finite: such a state is of no use."""
        named = (each for player in self.players for each in player.module.named_parameters())
        broken = [name for name, p in named if not full(p.isfinite().all())]
        if broken:
            raise Diverged(f"the weights are not finite at step {self.global_step}: {', '.join(broken[:3])}, ..")
        checkpoint["skipped"] = (self.skipped, self.in_a_row)
