"""MeanFlow by the two derivatives, in mixed precision on this device: what a step costs, and how far they agree.

    python tests/benchmarks/derivatives.py

Trains the default network on Fashion16 in forward mode and by a difference, from the same weights on the same noise.
Prints for each the steps a second (the median of the second half); the mean square of the residual after training, in
float64 on one held-out batch; and the error of the derivative by the weights trained in forward mode, relative to that
in float64.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import lightning.pytorch as pl
import torch
from torch import Tensor

from difflab import DataModule, Fashion16, UNet
from difflab.data import Pixels
from difflab.experiment.machine.hardware import autocast, best_device, keep_heap
from difflab.experiment.training.trainer import PRECISION, hush
from difflab.objective import Derivative, Difference, Eulerian, ForwardMode
from difflab.objective.derivative import precision
from difflab.paradigm import FlowMapMatching
from difflab.paradigm.bf16 import has_bf16
from difflab.paradigm.flow_map import BatchMap, steps_of
from difflab.process.chord import slope
from difflab.process.gaussian import scale

SHAPE = (1, 16, 16)


@dataclass(frozen=True)
class Found:
    """Of one derivative: steps a second, mean square of the residual, relative error of the derivative."""

    steps_per_s: float
    residual: float
    error: float


class Clock(pl.Callback):
    """The time of each step."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        """Wait for the device, and note the time."""
        trainer.callback_metrics["train/loss"].item()
        self.times.append(time.perf_counter())


def parser() -> argparse.ArgumentParser:
    """The sizes, and their defaults."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default, text in [
        ("batch", 128, "images a step"),
        ("width", 48, "channels of the network at full resolution"),
        ("steps", 300, "training steps of each"),
    ]:
        made.add_argument(f"--{name}", type=int, default=default, help=f"{text} (default: {default})")
    return made


class OnBatch:
    """What a model makes of one batch of samples `(B, *)`, under the same noise every time."""

    def __init__(self, model: FlowMapMatching, x0: Tensor, label: Tensor) -> None:
        noised = model.corrupt(x0, label, 0.0, 0)
        self.step, self.flow = steps_of(noised), BatchMap(model.denoiser, model.held, label, mask=0)
        self.drive = model.drive(noised, model.held, self.flow.target)

    def derivative(self, by: Derivative) -> Tensor:
        """`dy/dt` of the output along the velocity of the drive."""
        x, t, s, parts = self.step.x, self.step.t, self.step.s, (self.flow.schedule, self.flow.target)
        u = slope(*parts, x, t, self.drive.output(x, t))
        low, high = s.clamp(min=parts[0].t_min) - t, parts[0].t_max - t
        with torch.no_grad(), precision(by, x.device):
            return by(lambda h: self.flow.fixed(x + scale(h, u), t + h, s), low, high, t).double()

    @torch.no_grad()
    def residual(self) -> float:
        """The mean square."""
        return float(Eulerian(ForwardMode())(self.flow, self.drive, self.step).square().mean())


def trained(derivative: Derivative, args: argparse.Namespace, fast: str) -> tuple[FlowMapMatching, Clock]:
    """MeanFlow after the steps."""
    torch.manual_seed(0)
    net = UNet(SHAPE, 10, args.width, (1, 2, 2), 1, attention=(8,), head_channels=16, second_time=True)
    model, clock = FlowMapMatching(net, Eulerian(derivative), batch_size=args.batch), Clock()
    data = DataModule(Fashion16(), SHAPE, 10, 0.7, args.batch)
    pl.Trainer(
        max_steps=args.steps,
        max_epochs=-1,
        devices=1,
        precision=PRECISION[fast],
        callbacks=[clock],
        logger=False,
        limit_val_batches=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    ).fit(model, data)
    return model, clock


def main(words: Sequence[str] | None = None) -> dict[str, Found]:
    """Train, compare, print, and return what was found."""
    hush()
    args = parser().parse_args(words)
    device = best_device()
    fast = "bf16" if has_bf16(device) else "fp32"
    ways: dict[str, Derivative] = {"forward mode": ForwardMode(), "difference": Difference()}
    runs = {name: trained(way, args, fast) for name, way in ways.items()}

    images = Fashion16().load().test
    x0, label = Pixels().encode(images.x[: args.batch]).to(device), images.y[: args.batch].to(device)
    double = {name: copy.deepcopy(model).to(device).eval().double() for name, (model, _) in runs.items()}
    exact = OnBatch(double["forward mode"], x0.double(), label).derivative(ForwardMode())
    mixed = OnBatch(runs["forward mode"][0].to(device).eval(), x0, label)

    found = {}
    for name, (_, clock) in runs.items():
        last = clock.times[args.steps // 2 :]
        seconds = statistics.median(b - a for a, b in itertools.pairwise(last))
        with autocast(device, fast):
            error = float((mixed.derivative(ways[name]) - exact).norm() / exact.norm())
        found[name] = each = Found(1 / seconds, OnBatch(double[name], x0.double(), label).residual(), error)
        rate = f"{each.steps_per_s:.1f} steps/s"
        print(f"{name:12} ({fast}): {rate}, residual {each.residual:.4f}, error of the derivative {error:.1e}")
    return found


if __name__ == "__main__":
    keep_heap()
    main()
