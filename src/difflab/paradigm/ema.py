"""Averages of the trained weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from difflab.paradigm.base import Paradigm
from difflab.paradigm.sharding import divide_like, gathered, whole_copy

Averages = Mapping[float, Mapping[str, Tensor]]  # a state dict of what is learned for each decay


def learned(module: pl.LightningModule) -> nn.Module:
    """What is averaged: the network and, where that learns, its schedule."""
    return cast(Paradigm, module).learned


Rate = Callable[[int], float]  # the share that new weights have in an average, by the number of those in it


def decaying(decay: float) -> Rate:
    """That of an exponential average, `1 - d` with the warm-up `d = min(decay, (1 + n) / (10 + n))`."""
    return lambda n: 1 - min(decay, (1 + n) / (10 + n))


def average_of(network: nn.Module, rate: Rate) -> AveragedModel:
    """`averaged += rate(n) (current - averaged)`, of the trained weights alone."""

    def update(averaged: Any, current: Any, _: Any) -> None:  # noqa: ANN401  # torch's lists and count
        n = int(average.n_averaged)  # on the CPU; torch hands a copy on the device, whose reading would wait for it
        torch._foreach_lerp_(averaged, current, rate(n))

    average = AveragedModel(network, multi_avg_fn=update)
    return average


class Averaging(pl.Callback):
    """Averages in fp32 of the module that is trained, one for each of the `rates`."""

    def __init__(self, rates: Mapping[float, Rate]) -> None:
        self.rates = rates
        self.averages: dict[float, AveragedModel] = {}
        self.step = 0  # the last one that is averaged in

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Start the averages from the weights as they are, unless there are averages already."""
        self.averages = self.averages or {key: average_of(learned(pl_module), each) for key, each in self.rates.items()}

    def follow(self, pl_module: pl.LightningModule) -> None:
        """Move the averages to where the network is, in parts if that is; the update count stays on the CPU."""
        for average in self.averages.values():
            divide_like(average.module, learned(pl_module))
            average.module.to(pl_module.device).eval().requires_grad_(False)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Follow the network to its device."""
        self.follow(pl_module)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go on from the step that training is at."""
        self.step = trainer.global_step

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        """Average in the weights of a new step, which may take several batches."""
        if trainer.global_step != self.step:
            self.step = trainer.global_step
            self.average_in(trainer, pl_module)

    def average_in(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Average in the weights."""
        for average in self.averages.values():
            average.update_parameters(learned(pl_module))

    def state_dict(self) -> dict[str, Any]:
        """Plain tensors by key: where the processes hold parts of them, in the first process."""
        return {str(key): gathered(dict(average.state_dict())) for key, average in self.averages.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the saved averages."""
        for key, average in self.averages.items():
            average.load_state_dict(state_dict[str(key)])


class EMA(Averaging):
    """Exponential moving averages, one for each decay.

    The raw weights stay what Lightning trains, validates and saves. `trainer.test` and `trainer.predict` use the
    average of the first decay, which is also `average()`. A checkpoint has all of them: see `averages_in`.
    """

    def __init__(self, decays: Sequence[float]) -> None:
        if not decays or not all(0 <= d < 1 for d in decays):
            raise ValueError(f"ema={list(decays)}: give one or more decays in [0, 1), as ema=[0.999,0.9999]")
        super().__init__({decay: decaying(decay) for decay in decays})
        self.raw: nn.Module | None = None  # the trained module, while an average is used in its place

    def use(self, pl_module: pl.LightningModule) -> None:
        """Put the average in the place of what is learned."""
        self.follow(pl_module)
        self.raw = learned(pl_module)
        setattr(pl_module, cast(Paradigm, pl_module).learns, self.average())

    def release(self, pl_module: pl.LightningModule) -> None:
        """Put what is learned back in its place."""
        if self.raw is not None:
            setattr(pl_module, cast(Paradigm, pl_module).learns, self.raw)
            self.raw = None

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Test the average."""
        self.use(pl_module)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go back to the raw weights."""
        self.release(pl_module)

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Predict with the average."""
        self.use(pl_module)

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go back to the raw weights."""
        self.release(pl_module)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Go back to the raw weights, too."""
        self.release(pl_module)

    def average(self) -> nn.Module:
        """What is learned, with the averaged weights of the first decay; all processes must ask."""
        return whole_copy(next(iter(self.averages.values())).module)


def averages_in(checkpoint: Mapping[str, Any]) -> Averages:
    """The averages that a checkpoint of Lightning has, by decay, for `load_state_dict` of what is learned."""
    return averages_of(checkpoint["callbacks"][EMA.__qualname__])


def averages_of(states: Mapping[str, Mapping[str, Any]]) -> Averages:
    """The averages of a state of `EMA`, in the same way."""
    prefix = "module."  # of torch's AveragedModel
    return {
        float(decay): {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        for decay, state in states.items()
    }
