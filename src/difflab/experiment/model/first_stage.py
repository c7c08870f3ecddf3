"""First stages, from runs or from diffusers, whose latents a model is trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from difflab.backbone import autoencoder_kl
from difflab.data.latents import FrozenStage
from difflab.data.module import DataModule
from difflab.denoiser.first_stage import FirstStage
from difflab.denoiser.generator import VariationalAutoencoder
from difflab.experiment.machine.processes import rank
from difflab.experiment.machine.terminal import bar, silently
from difflab.experiment.parts.build import build
from difflab.experiment.parts.errors import suggestion
from difflab.experiment.parts.identity import identity
from difflab.experiment.store.facts import facts_of
from difflab.experiment.store.run import Run, find
from difflab.experiment.store.tensor_cache import TensorCache
from difflab.experiment.store.weights import kept_of, load_module, weights_identity

WHITENINGS = ("channels", "full")
Stage = FirstStage | VariationalAutoencoder


@dataclass(frozen=True)
class Unlabelled:
    """A first stage without classes, as a space of latents uses it."""

    stage: Stage

    @property
    def shape(self) -> tuple[int, ...]:
        """That of its samples."""
        return self.stage.shape

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """That of its latents."""
        return self.stage.latent_shape

    def posterior(self, x0: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and the log-variance of `q(z | x0)`."""
        return self.stage.posterior(x0, torch.zeros(len(x0), dtype=torch.int64, device=x0.device))

    def decode(self, z: Tensor) -> Tensor:
        """The samples of latents."""
        return self.stage.decode(z, torch.zeros(len(z), dtype=torch.int64, device=z.device))


def checked_stage(module: nn.Module, name: str) -> Stage:
    """What a run trained, as a first stage. Raises ValueError if it has no latents, or if they depend on a class."""
    if not isinstance(module, FirstStage | VariationalAutoencoder):
        raise ValueError(
            f"first_stage={name} is a {type(module).__name__}, which has no latents: choose a run of "
            f"paradigm=autoencoder or vae, or the words that train one, as 'first_stage=\"paradigm=autoencoder\"'"
        )
    if module.classes:
        raise ValueError(
            f"first_stage={name} is conditioned on {module.classes} classes, and samples are decoded without: train it "
            f"with backbone.classes=0"
        )
    return module


@dataclass(frozen=True)
class Source:
    """Where a first stage comes from."""

    name: str
    weights: Mapping[str, Any]  # `sha256`, and `ema`, the decay of a run's averages
    kept: Mapping[str, Any]  # for people and reports
    load: Callable[[Sequence[int]], nn.Module]  # for samples of this shape, on the CPU
    codec: Mapping[str, Any] | None  # of the samples that it was trained on; None: not known


def of_run(run: Run, ema: float | None) -> Source:
    """A run of difflab."""
    weights = weights_identity(run, ema)
    codec, decay = run.config["data"].get("codec"), weights["ema"]
    known = {"sha256": weights["weights"], "ema": decay}
    return Source(run.folder.name, known, kept_of(run), lambda shape: load_module(run, decay)[0], codec)


def of_diffusers(folder: Path) -> Source:
    """A folder that holds an AutoencoderKL as diffusers writes it."""
    sha256 = hashlib.sha256((folder / autoencoder_kl.WEIGHTS).read_bytes()).hexdigest()
    record = {"run": folder.name, "kind": f"AutoencoderKL-{sha256[:8]}", "seeds": []}

    def load(shape: Sequence[int]) -> nn.Module:
        return FirstStage(autoencoder_kl.read(folder, shape[-1])).eval().requires_grad_(False)

    return Source(folder.name, {"sha256": sha256, "ema": None}, record, load, None)


def source_of(config: Mapping[str, Any]) -> Source | None:
    """The first stage of a configuration; None where it has none.

    Of a stored configuration it is the run with the same weights, also if it was renamed. Raises ValueError if
    there is none.
    """
    words = config.get("first_stage") or {}
    if not words.get("run"):
        return None
    folder, name, ema = Path(config["runs_dir"]), words["run"], words.get("ema")
    sha256 = config.get("origins", {}).get("first_stage", {}).get("sha256")
    if autoencoder_kl.is_folder(Path(name)):
        found = of_diffusers(Path(name))
        if sha256 in (None, found.weights["sha256"]):
            return found
    try:
        found = of_run(find(folder, name, "first_stage"), ema)
        if sha256 in (None, found.weights["sha256"]):
            return found
    except ValueError:
        if sha256 is None:
            raise
    for path in sorted(folder.glob("*/weights.json")):
        if _weights_of(Run(path.parent)) == sha256:
            return of_run(Run(path.parent), ema)
    raise ValueError(
        f"first_stage={name}: neither that nor a run in {folder}/ has its weights, whose sha256 is {sha256[:12]}..; "
        f"say first_stage=FOLDER, or put the folder of that run there"
    )


def _weights_of(run: Run) -> str | None:
    """The sha256 of a run's weights; None if they cannot be read, as of a damaged run."""
    try:
        found: str = facts_of(run)["sha256"]
    except (ValueError, OSError):
        return None
    return found


def stage_identity(source: Source, config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a first stage decides the latents. Raises ValueError for a whitening that there is not."""
    whitening = config["first_stage"]["whitening"]
    if whitening not in WHITENINGS:
        raise ValueError(f"first_stage.whitening={whitening}; {suggestion(str(whitening), WHITENINGS)}")
    return {**source.weights, "whitening": whitening}


def data_module(config: Mapping[str, Any], device: torch.device | str = "cpu", **more: object) -> DataModule:
    """The data of a configuration, in the latents of its first stage where it has one; `more` replaces settings.

    Raises ValueError for a first stage of samples of another shape or type.
    """
    node = {**config["data"], **more}
    source = source_of(config)
    if source is None:
        data: DataModule = build(node)
        return data
    known = stage_identity(source, config)
    stage = checked_stage(source.load(node["shape"]), source.name)
    if tuple(stage.shape) != tuple(node["shape"]):
        raise ValueError(
            f"first_stage={source.name} encodes samples of shape {list(stage.shape)}, and those of data= have "
            f"{list(node['shape'])}: choose one that was trained on such data"
        )
    if source.codec is not None and identity(source.codec) != identity(node.get("codec")):
        raise ValueError(
            f"first_stage={source.name} was trained on samples of data.codec={source.codec}, and these are of "
            f"{node.get('codec')}: choose one that was trained on such data"
        )
    frozen = FrozenStage(
        Unlabelled(stage.to(device)),
        known,
        TensorCache(Path(config["runs_dir"]) / ".cache"),
        silently if rank() else bar,
        torch.device(device),
        known["whitening"] == "full",
    )
    latent: DataModule = build(node, stage=frozen)
    return latent
