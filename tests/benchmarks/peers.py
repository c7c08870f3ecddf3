"""Training steps of other libraries' default U-Nets, in an environment of their own that this makes.

    python -m benchmarks.speed --peers FOLDER

Run in that environment as a file, which loads nothing of difflab, it prints what it found as JSON.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

PACKAGES = ("diffusers", "azula", "torchcfm", "denoising-diffusion-pytorch")


def diffusers(size: int) -> Any:  # a network of (samples, times)
    """UNet2DModel of three levels."""
    from diffusers import UNet2DModel

    blocks = {"down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D")}
    up = {"up_block_types": ("UpBlock2D", "AttnUpBlock2D", "UpBlock2D")}
    net: Any = UNet2DModel(size, 1, 1, block_out_channels=(64, 128, 128), layers_per_block=1, **blocks, **up)  # type: ignore[no-untyped-call]
    net.forward = lambda x, t, call=net.forward: call(x, t).sample
    return net


def azula(size: int) -> Any:  # a network of (samples, times)
    """Its U-Net, of two spatial dimensions, modulated by an embedding of time."""
    from azula.nn.unet import UNet  # type: ignore[import-not-found]

    class Timed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = UNet(1, 1, mod_features=64, hid_channels=(64, 128, 128), hid_blocks=(1, 1, 1))

        def forward(self, x: Any, t: Any) -> Any:
            return self.net(x, t[:, None].expand(-1, 64))

    return Timed()


def torchcfm(size: int) -> Any:  # a network of (samples, times)
    """UNetModel, which takes time first."""
    from torchcfm.models.unet import UNetModel  # type: ignore[import-not-found]

    net = UNetModel(dim=(1, size, size), num_channels=64, num_res_blocks=1)
    net.forward = lambda x, t, call=net.forward: call(t, x)
    return net


def denoising_diffusion_pytorch(size: int) -> Any:  # a network of (samples, times)
    """Unet."""
    from denoising_diffusion_pytorch import Unet  # type: ignore[import-not-found]

    return Unet(dim=64, channels=1, dim_mults=(1, 2, 2))


def diffusers_dit(size: int) -> Any:  # a network of (samples, times)
    """DiTTransformer2DModel of the size of difflab's."""
    from diffusers import DiTTransformer2DModel

    shape = {"num_attention_heads": 4, "attention_head_dim": 48, "num_layers": 4, "patch_size": 4}
    net: Any = DiTTransformer2DModel(**shape, in_channels=1, sample_size=size, norm_num_groups=1)  # type: ignore[no-untyped-call]
    label = torch.zeros(1, dtype=torch.long)
    net.forward = lambda x, t, call=net.forward: call(x, (1000 * t).long(), label.expand(len(x))).sample
    return net


NETWORKS = {
    "diffusers": diffusers,
    "diffusers, DiT": diffusers_dit,
    "azula": azula,
    "azula, tuned": azula,
    "torchcfm": torchcfm,
    "denoising-diffusion-pytorch": denoising_diffusion_pytorch,
}


def step_of(net: Any, batch: int, size: int, tuned: bool) -> Callable[[], None]:  # any library's
    """One training step in the library's default precision, by AdamW; or in channels_last by fused AdamW, and in bf16
    where the processor has instructions for it."""
    if tuned:
        net.to(memory_format=torch.channels_last)
    adamw = torch.optim.AdamW(net.parameters(), 1e-4, fused=tuned or None)
    x, t = torch.randn(batch, 1, size, size), torch.rand(batch)
    flags = Path("/proc/cpuinfo")
    bf16 = tuned and flags.exists() and "avx512_bf16" in flags.read_text()

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = nn.functional.mse_loss(net(x, t).float(), x)
        torch.autograd.backward(loss)
        adamw.step()
        adamw.zero_grad()

    return step


def measured(batch: int, size: int, rounds: int) -> dict[str, dict[str, Any]]:
    """Of each library that is installed its version and rate, or why there is none."""
    steps: dict[str, Callable[[], None]] = {}
    found: dict[str, dict[str, Any]] = {}
    for name, network in NETWORKS.items():
        package, _, variant = name.partition(", ")
        try:
            found[name] = {"version": version(package)}
            steps[name] = step_of(network(size), batch, size, variant == "tuned")
            with FlopCounterMode(display=False) as counter:
                steps[name]()
            found[name] |= {"flop": counter.get_total_flops(), "times": []}
        except (PackageNotFoundError, ImportError) as error:
            found[name] = {"problem": f"not installed: {error}"}
        except Exception as error:  # another version of it, whose network is made otherwise
            found[name] |= {"problem": f"{type(error).__name__}: {error}"}
            steps.pop(name, None)
    for _ in range(rounds):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            found[name]["times"].append(time.perf_counter() - start)
    for each in found.values():
        if times := each.pop("times", None):
            each |= {"seconds": statistics.median(times), "flop_per_s": each["flop"] / statistics.median(times)}
    return found


def compared(folder: Path, batch: int, size: int, rounds: int) -> dict[str, dict[str, Any]]:
    """The same in the environment at `folder`, which is made if it is not there. A library that cannot be installed is
    left out, and named by what is found."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", f"torch=={torch.__version__}"], check=True)
        for name in PACKAGES:
            subprocess.run([python, "-m", "pip", "install", "-q", name], check=False)
    words = [str(each) for each in (batch, size, rounds)]
    said = subprocess.run([python, __file__, *words], check=True, capture_output=True, text=True).stdout
    found: dict[str, dict[str, Any]] = json.loads(said.splitlines()[-1])
    return found


if __name__ == "__main__":
    print(json.dumps(measured(*map(int, sys.argv[1:]))))
