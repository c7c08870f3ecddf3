"""What difflab does most of the time: steps, forward passes, the loop of a sampler, scores."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import cast

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.windows import Case, operations
from difflab.backbone import MLP, DiT, UNet
from difflab.denoiser import Denoiser
from difflab.experiment.machine.hardware import autocast, casts_kept
from difflab.metric.distance import kernel
from difflab.metric.features import EfficientNetLite0
from difflab.metric.memorisation import neighbours
from difflab.metric.reference import Split
from difflab.paradigm import EMA, RectifiedFlow
from difflab.paradigm.base import TRAINING
from difflab.paradigm.ema import average_of, decaying
from difflab.paradigm.players import bounded, joint_optimizer
from difflab.process import VP, Eps
from difflab.sampler import DDIM, Ancestral, DPMSolverPP, Heun, LogSNR, Sampler, UniPC
from difflab.sampler.generate import integrate, times_for

LOOPS: dict[str, Sampler] = {
    "ddim": DDIM(),
    "heun": Heun(),
    "dpm_solver_pp": DPMSolverPP(),
    "unipc": UniPC(),
    "ancestral": Ancestral(),
}


@dataclass(frozen=True)
class Sizes:
    """The sizes of everything that is measured."""

    batch: int = 64
    image: int = 32
    width: int = 48
    depth: int = 4  # blocks of the transformer
    tokens: int = 192  # the width of its tokens
    nfe: int = 20
    toy: int = 256  # points in a batch
    steps: int = 100  # of a toy training
    samples: int = 1000  # that are measured
    reference: int = 2000


SMALL = Sizes(batch=2, image=8, width=16, depth=1, tokens=16, nfe=4, toy=8, steps=12, samples=16, reference=20)


def networks(sizes: Sizes) -> dict[str, nn.Module]:
    """The two networks of the table."""
    shape = 1, sizes.image, sizes.image
    attention = (sizes.image // 2,)
    unet = UNet(shape, 10, sizes.width, (1, 2, 2), blocks=1, attention=attention, head_channels=16)
    dit = DiT(shape, 10, width=sizes.tokens, depth=sizes.depth, heads=4, patch=4)
    return {"U-Net": unet, "DiT": dit}


def training_step(network: nn.Module, sizes: Sizes, device: torch.device, precision: str) -> Callable[[], None]:
    """One step of regression, with fused AdamW and an average of the weights."""
    network = network.to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = average_of(network, decaying(0.999)).to(device)
    adamw = torch.optim.AdamW(network.parameters(), 1e-4, fused=True)
    x = torch.randn(sizes.batch, 1, sizes.image, sizes.image, device=device)
    code, label = torch.rand(sizes.batch, device=device), torch.zeros(sizes.batch, dtype=torch.long, device=device)

    def step() -> None:
        with autocast(device, precision):
            loss = nn.functional.mse_loss(network(x, code, label).float(), x)
        torch.autograd.backward(loss)
        adamw.step()
        adamw.zero_grad()
        average.update_parameters(network)

    return step


def forward(network: nn.Module, batch: int, sizes: Sizes, device: torch.device, precision: str) -> Callable[[], None]:
    """So many calls of a frozen network as a sample takes."""
    network = copy.deepcopy(network).to(device).eval().requires_grad_(False)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.randn(batch, 1, sizes.image, sizes.image, device=device)
    code, label = torch.rand(batch, device=device), torch.zeros(batch, dtype=torch.long, device=device)

    def calls() -> None:
        with torch.no_grad(), autocast(device, precision), casts_kept(network):
            for _ in range(sizes.nfe):
                network(x, code, label)

    return calls


def network_cases(sizes: Sizes, device: torch.device, precision: str) -> list[Case]:
    """Training steps and forward passes of both networks."""
    cases = []
    for name, network in networks(sizes).items():
        for batch in sorted({sizes.batch, min(4, sizes.batch), 1}, reverse=True):
            calls = forward(network, batch, sizes, device, precision)
            cases.append(Case(f"{name} forward, batch {batch}", calls, sizes.nfe, operations(calls) / sizes.nfe))
        step = training_step(network, sizes, device, precision)
        cases.append(Case(f"{name} training step", step, flop=operations(step)))
    return cases


class Nothing(nn.Module):
    """A network that costs next to nothing."""

    learned_variance, classes = False, 0

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape, self.weight = shape, nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, code: Tensor, label: Tensor) -> Tensor:
        """Half of the sample."""
        return 0.5 * x


def loop_cases(sizes: Sizes, device: torch.device) -> list[Case]:
    """The samplers' loops around a network that does nothing, of one batch of 4 and of ten; a unit is an evaluation."""
    network = Nothing((1, 8, 8)).to(device)
    denoiser, x = Denoiser(network, VP(), Eps()).to(device).eval(), torch.zeros(4, 1, 8, 8, device=device)
    cases = [Case("no network", lambda: network(x, x, x))]
    for name, sampler in LOOPS.items():
        times = times_for(denoiser, sampler, LogSNR(-9, 7), sizes.nfe)
        for batches in (1, 10):
            labels = torch.zeros(4 * batches, dtype=torch.long)

            def draw(sampler: Sampler = sampler, times: Tensor = times, labels: Tensor = labels) -> None:
                integrate(denoiser, sampler, times, None, labels, batch_size=4, device=device)

            units = integrate(denoiser, sampler, times, None, labels, batch_size=4, device=device).nfe * batches
            cases.append(Case(f"loop, {name}, {batches} x 4", draw, units, beside="no network"))
    return cases


def toy_model(sizes: Sizes) -> RectifiedFlow:
    """Rectified flow of points, by AdamW."""
    torch.manual_seed(0)
    return RectifiedFlow(MLP((2,), 0, width=64), batch_size=sizes.toy)


def toy_cases(sizes: Sizes) -> list[Case]:
    """A step of a toy training by Lightning and by a bare loop, both with an average of the weights."""
    data = TensorDataset(torch.randn(sizes.toy * sizes.steps, 2), torch.zeros(sizes.toy * sizes.steps).long())

    def by_lightning() -> None:
        trainer = pl.Trainer(
            accelerator="cpu",
            max_steps=sizes.steps,
            log_every_n_steps=10,
            callbacks=[EMA([0.999])],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(toy_model(sizes), DataLoader(data, batch_size=sizes.toy))

    def by_hand() -> None:
        model = toy_model(sizes)
        optimizer = joint_optimizer(model.optimisation, model.players)
        average = average_of(model.learned, decaying(0.999))
        for k, (x, label) in enumerate(DataLoader(data, batch_size=sizes.toy)):
            noised = model.corrupt(x, label, 0.0, TRAINING, k)
            loss = torch.stack([each.mean() for each in model.loss(noised).values()]).sum()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            bounded(model.players)
            optimizer.step()
            average.update_parameters(model.learned)

    return [
        Case("toy step, Lightning", by_lightning, sizes.steps),
        Case("toy step, bare loop", by_hand, sizes.steps),
    ]


def score_cases(sizes: Sizes, device: torch.device) -> list[Case]:
    """Features, a kernel distance and the search for copies; a unit is a generated sample."""
    n, m = sizes.samples, sizes.reference
    images = torch.randint(0, 256, (min(n, 64), 1, sizes.image, sizes.image), dtype=torch.uint8)
    extractor = EfficientNetLite0(device)
    a, b = torch.randn(n, 320), torch.randn(m, 320)
    generated = torch.rand(n, sizes.image**2)
    splits = [cast(Split, SimpleNamespace(x=torch.rand(m, sizes.image**2), sha256=k)) for k in "ab"]
    return [
        Case("features (lite0)", lambda: extractor(images), len(images)),
        Case("kernel distance", lambda: kernel(a, b), n),
        Case("search for copies", lambda: neighbours(generated, *splits), n),
    ]
