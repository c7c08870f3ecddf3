"""What difflab does on an accelerator, in one run of at most eight minutes: `python -m benchmarks.gpu`, the table last.

`--small` tries the same with sizes of moments, on whatever device there is. A part that fails is named in the table,
and the others go on.
"""

from __future__ import annotations

import argparse
import copy
import os
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
import torch.distributed as dist
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.profiler import ProfilerActivity, profile

from benchmarks.ceilings import of_type
from benchmarks.gpu_networks import SMALL, Sizes, batch_of, dit, shaken, trainer, unet
from benchmarks.windows import Case, operations, problem, speeds, wait, window
from difflab.backbone import Autoencoder, MMDiT, Tokens
from difflab.denoiser import Denoiser
from difflab.experiment.machine.hardware import autocast, best_device, casts_kept
from difflab.metric.features import EfficientNetLite0
from difflab.paradigm import RectifiedFlow
from difflab.paradigm.base import TRAINING
from difflab.process import Linear, SampleNoise, Velocity
from difflab.sampler import DDIM, Uniform
from difflab.sampler.generate import integrate

BACKEND = ("inductor", "aot_eager")  # of accelerators, and of CPUs, on which compiling takes minutes
LIMIT = 450.0  # seconds after which no further part is begun
Row = tuple[str, str]
Part = Callable[[Sizes, torch.device], list[Row]]


def correctness(sizes: Sizes, device: torch.device) -> list[Row]:
    """The relative error of the device's outputs, against the CPU's in fp32."""
    rows = []
    for name, network in (("U-Net", shaken(unet(sizes))), ("DiT-B/4", shaken(dit(sizes)))):
        with torch.no_grad():
            known = network(*batch_of(network, 4, torch.device("cpu")))
            there = copy.deepcopy(network).to(device)
            for precision in ("fp32", "bf16"):
                with autocast(device, precision):
                    found = there(*batch_of(network, 4, device)).float().cpu()
                rows.append((f"{name}, error in {precision}", f"{float((found - known).norm() / known.norm()):.1e}"))
    return rows


def noise(sizes: Sizes, device: torch.device) -> list[Row]:
    """Noise as the device has it is the CPU's."""
    draw, like = SampleNoise(0, range(sizes.drawn)), torch.empty(sizes.drawn, 3, sizes.image, sizes.image)
    there = draw(like.to(device), 1)
    case = Case("", lambda: draw(like.to(device), 1))
    equal = torch.equal(there.cpu(), draw(like, 1))
    return [("noise equals the CPU's", str(equal)), ("noise of a batch, ms", f"{1e3 * window(case, sizes.window):.2f}")]


def training(sizes: Sizes, device: torch.device) -> list[Row]:
    """Steps with and without compile, and the share of the peak rate that their operations reach."""
    wide = max(sizes.dit[0], 16)
    matmul, *_ = of_type("bf16", sizes.batch, sizes.image, wide, device)
    cases: list[Case] = [matmul]
    rows: list[Row] = []
    for name, make in (("U-Net", unet), ("DiT-B/4", dit)):
        network = make(sizes).to(device)
        eager = trainer(network, sizes, device)
        cases.append(Case(f"{name} step", eager, flop=operations(eager)))
        compiled = make(sizes).to(device)
        compiled.compile(backend=BACKEND[device.type == "cpu"])
        step = Case(f"{name} step, compiled", trainer(compiled, sizes, device), flop=cases[-1].flop)
        if row := problem(step):
            rows.append(row)
        else:
            cases.append(step)
    found = speeds(cases, sizes.rounds, sizes.window)
    peak = found[matmul.name].flop_per_s
    rows.append(("matrix product, bf16, TFLOP/s", f"{peak / 1e12:.2f}"))
    for case in cases[1:]:
        each = found[case.name]
        rate = f"{1e3 * each.seconds:.1f} ms, {each.flop_per_s / 1e12:.2f} TFLOP/s, {each.flop_per_s / peak:.0%} of it"
        rows.append((case.name, rate))
    return rows


def sampling(sizes: Sizes, device: torch.device) -> list[Row]:
    """DDIM beside the same number of calls of the network alone; eager, compiled, and as a CUDA graph."""
    rows = []
    for how in ("eager", "compiled", *["CUDA graphs"] * (device.type == "cuda")):
        network = shaken(unet(sizes)).to(device).eval().requires_grad_(False)
        if how != "eager":
            mode = "reduce-overhead" if how == "CUDA graphs" else None
            network.compile(backend=BACKEND[device.type == "cpu"], **{"mode": mode} if mode else {})
        denoiser = Denoiser(network, Linear(), Velocity())
        times, labels = Uniform()(Linear(), sizes.nfe), torch.zeros(sizes.drawn, dtype=torch.long)
        x, code, label = batch_of(network, sizes.drawn, device)

        def calls(network: nn.Module = network, x: Tensor = x, code: Tensor = code, label: Tensor = label) -> None:
            with torch.no_grad(), autocast(device, "bf16"), casts_kept(network):
                for _ in range(sizes.nfe):
                    network(x, code, label)

        def draw(denoiser: Denoiser = denoiser, times: Tensor = times, labels: Tensor = labels) -> None:
            with autocast(device, "bf16"), casts_kept(denoiser):
                integrate(denoiser, DDIM(), times, None, labels, batch_size=sizes.drawn, device=device)

        if row := problem(Case(f"DDIM, {how}", draw)):
            rows.append(row)
            continue
        found = speeds([Case("alone", calls), Case("drawn", draw)], sizes.rounds, sizes.window)
        over = found["drawn"].seconds / found["alone"].seconds - 1
        pace = f"{sizes.drawn / found['drawn'].seconds:.0f} images/s, {over:+.1%} over the network alone"
        rows.append((f"{sizes.nfe} steps of DDIM, {how}", pace))
    return rows


def latents(sizes: Sizes, device: torch.device) -> list[Row]:
    """Steps of MM-DiT on latents with text, and images through the autoencoder of f = 4."""
    width, depth, heads = sizes.mmdit
    book, shape = partial(Tokens, width=width, heads=heads), (4, sizes.latent, sizes.latent)
    network = MMDiT(shape, 2, width=width, depth=depth, heads=heads, patch=2, book=book).to(device)
    few = replace(sizes, batch=max(2, sizes.batch // 8))
    step = window(Case("", trainer(network, few, device)), sizes.window)
    side = sizes.decoded
    stage = Autoencoder((3, side, side), width=sizes.unet, multipliers=(1, 2, 4)).to(device).eval()
    stage.requires_grad_(False)
    images = torch.randn(max(2, sizes.batch // 16), 3, side, side, device=device)
    label = torch.zeros(len(images), dtype=torch.long, device=device)

    def encode() -> None:
        with torch.no_grad(), autocast(device, "bf16"), casts_kept(stage):
            stage.encode(images, label)

    pace = len(images) / window(Case("", encode), sizes.window)
    return [
        (f"MM-DiT step, {few.batch} latents of {sizes.latent}", f"{1 / step:.2f} steps/s"),
        (f"KL-VAE f4, images of {side}", f"{pace:.1f} images/s encoded"),
    ]


def features(sizes: Sizes, device: torch.device) -> list[Row]:
    """Features on the device, against the CPU's."""
    images = torch.randint(0, 256, (sizes.drawn, 3, sizes.image, sizes.image), dtype=torch.uint8)
    there, here = EfficientNetLite0(device), EfficientNetLite0("cpu")
    few = images[:16]
    worst = max(float((there(few)[k] - v).norm() / v.norm()) for k, v in here(few).items())
    pace = len(images) / window(Case("", lambda: there(images)), sizes.window)
    return [("features (lite0), error", f"{worst:.1e}"), ("features (lite0), images/s", f"{pace:.0f}")]


def one_process(sizes: Sizes, device: torch.device) -> list[Row]:
    """A step under DDP of one device, beside the same without."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511"}
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", rank=0, world_size=1)
    try:
        plain, wrapped = dit(sizes).to(device), DistributedDataParallel(dit(sizes).to(device))
        cases = [Case(name, trainer(net, sizes, device)) for name, net in (("plain", plain), ("DDP", wrapped))]
        found = speeds(cases, sizes.rounds, sizes.window)
        return [("DDP of one device", f"x {found['DDP'].seconds / found['plain'].seconds:.2f} of a step without")]
    finally:
        dist.destroy_process_group()


def copies(sizes: Sizes, device: torch.device) -> list[Row]:
    """What of a paradigm's loss, and of an evaluation in sampling, waits for the device or copies to it."""
    network = unet(sizes).to(device)
    model = RectifiedFlow(network, batch_size=sizes.batch).to(device)
    x, _, label = batch_of(network, sizes.batch, device)
    denoiser, times = model.denoiser, Uniform()(Linear(), sizes.nfe)
    labels = torch.zeros(sizes.batch, dtype=torch.long)

    def step() -> None:
        losses = model.loss(model.corrupt(x, label, 0.0, TRAINING, 0)).values()
        torch.autograd.backward(torch.stack([each.mean() for each in losses]).sum())

    def draw() -> None:
        integrate(denoiser, DDIM(), times, None, labels, batch_size=sizes.batch, device=device)

    rows = []
    activities = [ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * (device.type == "cuda")]
    for name, action, units in (("a training step", step, 1), (f"{sizes.nfe} evaluations of DDIM", draw, 1)):
        action()
        with profile(activities=activities) as seen:
            action()
            wait()
        counts = {each.key: each.count for each in seen.key_averages()}
        to_device = sum(n for key, n in counts.items() if "HtoD" in key)
        waits = counts.get("aten::item", 0), counts.get("cudaStreamSynchronize", 0)
        rows.append((name, f"{waits[0] / units:g} .item(), {to_device} copies to the device, {waits[1]} waits"))
    return rows


PARTS: dict[str, Part] = {
    "correctness": correctness,
    "noise": noise,
    "copies": copies,
    "features": features,
    "training": training,
    "sampling": sampling,
    "latents": latents,
    "DDP": one_process,
}


def main(words: Sequence[str] | None = None) -> dict[str, list[Row]]:
    """Try every part, print the table, and return it."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--small", action="store_true", help="sizes of moments")
    made.add_argument("--only", nargs="*", choices=PARTS, default=[*PARTS], help="these parts (all)")
    asked = made.parse_args(words)
    sizes, device, start = SMALL if asked.small else Sizes(), best_device(), time.monotonic()
    found: dict[str, list[Row]] = {}
    for name in asked.only:
        began = time.monotonic()
        try:
            if began - start > LIMIT:
                raise TimeoutError(f"no time left after {began - start:.0f} s")
            found[name] = PARTS[name](sizes, device)
        except Exception as error:  # the others still count
            traceback.print_exc()
            found[name] = [(f"{name} FAILED", f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}")]
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    about = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    table = Table("part", "", "", title=f"{about}, torch {torch.__version__}, {time.monotonic() - start:.0f} s")
    for name, rows in found.items():
        for row in rows:
            table.add_row(name, *row)
    Console(width=120).print(table)
    return found


if __name__ == "__main__":
    main()
